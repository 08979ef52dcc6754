// What a guest's lock file says.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace pinfold::cli {

/// What a supervisor writes into its guest's lock file.
struct GuestNote {
  std::uint32_t id = 0;  ///< From 1 up; 0: the file does not say.
  pid_t supervisor = 0;
  pid_t monitor = 0;       ///< 0: between two lives.
  std::uint32_t life = 0;  ///< How often it started again in this monitor.
  bool shared = false;     ///< Others are in this monitor, or were: it must not be killed for this guest.
  bool preserved = false;  ///< The guest has ended, and no other life follows under this name.

  [[nodiscard]] std::string text() const;
  /// Any bytes; what does not look like a note is one without an ID.
  [[nodiscard]] static GuestNote parse(std::string_view text);
  bool operator==(const GuestNote&) const = default;
};

}  // namespace pinfold::cli
