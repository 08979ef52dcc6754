// A process that cleans up on the host when an attached device is gone.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "cli/control/socket.hpp"

namespace pinfold::cli {

/// What was made on the host for a device.
struct MadeForDevice {
  Descriptors descriptors;         ///< For the guest's monitor.
  std::shared_ptr<void> clean_up;  ///< Its end undoes what was done, and ends helpers.
};

/// The keeper's side of a device, as a command gets it.
struct KeptDevice {
  Descriptors descriptors;
  /// For the monitor, which closes it with the device. The keeper cleans up when nobody has it open any more:
  /// so also when the command fails, and when the monitor dies.
  vmm::Fd tie;
  pid_t process = -1;
};

/// Calls `make` in a process that stays until the device is gone, in a session of its own. Helpers that
/// `make` starts are children of that process. An error is one line, such as that of `make`. Call it before
/// the program has threads: it forks.
[[nodiscard]] tl::expected<KeptDevice, std::string> make_in_keeper(
    const std::function<tl::expected<MadeForDevice, std::string>()>& make);

}  // namespace pinfold::cli
