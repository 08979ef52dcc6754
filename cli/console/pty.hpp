// A pseudo-terminal as the guest's console, for programs that want a terminal's path.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// `slave` stays open, so that the terminal stays usable when a program closes it, and keeps its modes: raw
/// at first, since the guest edits its own lines.
struct Pty {
  vmm::Fd master;  ///< Does not block.
  vmm::Fd slave;
  std::string path;  ///< Such as /dev/pts/5: the slave's.
};

/// An error is one line.
[[nodiscard]] tl::expected<Pty, std::string> open_pty();

}  // namespace pinfold::cli
