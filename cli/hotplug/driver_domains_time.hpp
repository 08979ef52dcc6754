// How long a command waits for a driver domain.
#pragma once

#include <chrono>
#include <optional>

#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// The time that a driver domain has to let go of a device of a guest that has done so already. The guest's
/// monitor keeps the time, and takes the device away when it is up.
class DriverDomainsTime {
 public:
  /// `device` is what the monitor says of the device now. If the driver domain's time has just begun: how
  /// long the command has to wait from now on. If it lasts long, a line on stderr says so, once.
  [[nodiscard]] std::optional<std::chrono::milliseconds> extension(const Json& device);

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> begun_;
  bool told_ = false;
};

}  // namespace pinfold::cli
