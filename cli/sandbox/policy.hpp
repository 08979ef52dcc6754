// How a monitor is confined.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace pinfold::sandbox {

enum class Mode : std::uint8_t {
  off,
  log,  ///< Says what would have been refused, and does it. It protects from nothing.
  on,   ///< The monitor ends at the first system call that its threads have no use for.
};

/// Whom the monitor becomes, if it is started as root.
struct User {
  uid_t user = 0;
  gid_t group = 0;
};

struct Policy {
  Mode mode = Mode::on;
  std::optional<User> user;            ///< nullopt: the monitor stays who it is.
  std::uint64_t descriptors = 0;       ///< That it will open or get, besides those that it has.
  std::uint64_t more_descriptors = 0;  ///< That it may get, on a host that permits so many.
};

}  // namespace pinfold::sandbox
