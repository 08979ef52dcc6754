// How a life of the guest ended, as its monitor tells the supervisor: by its exit status and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/config/guest_config.hpp"
#include "cli/exit_codes.hpp"

namespace pinfold::cli {

/// What the guest itself did to end, so that its configuration says what happens next.
enum class GuestEnd : std::uint8_t { poweroff, reboot, crash, watchdog };

/// The monitor's exit status for it. Other ends are final, and have the ExitCode as their status.
[[nodiscard]] int status_of(GuestEnd end);

/// The supervisor's exit code after it, if the guest does not start again.
[[nodiscard]] ExitCode code_of(GuestEnd end);

/// What the supervisor makes of a status of waitpid(2). A monitor can have been taken over by its guest, so
/// any status may come; all of them have a meaning here.
struct LifeEnd {
  std::optional<GuestEnd> guest;     ///< The guest's own end; nullopt: a final one.
  ExitCode code = exit_powered_off;  ///< The supervisor's exit code, if the guest does not start again.
  int signal = 0;                    ///< That ended the monitor; 0: none did.
  std::string complaint;             ///< One line if the monitor did not end as monitors do; else empty.
};
[[nodiscard]] LifeEnd life_end(int wait_status);

/// What the configuration says of it.
[[nodiscard]] EndAction action_for(const GuestConfig& config, GuestEnd end);

}  // namespace pinfold::cli
