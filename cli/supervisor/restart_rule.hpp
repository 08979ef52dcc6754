// Which guests start again.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "cli/supervisor/life_end.hpp"

namespace pinfold::cli {

/// Made when a life begins. A guest that crashes soon after its start would only crash again, as fast as it
/// can be started: it stays ended. A guest that reboots did so on purpose, and always starts again.
class RestartRule {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds soon{10};

  /// One line; nullopt: it starts again.
  [[nodiscard]] std::optional<std::string> objection_to_restart(GuestEnd end,
                                                                Clock::time_point now = Clock::now()) const {
    if (end == GuestEnd::poweroff || end == GuestEnd::reboot || now - start_ >= soon) return std::nullopt;
    return "the guest is not started again: it crashed less than " + std::to_string(soon.count()) +
           " s after its start";
  }

 private:
  Clock::time_point start_ = Clock::now();
};

}  // namespace pinfold::cli
