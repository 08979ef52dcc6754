// The bytes on the link between a supervisor and a monitor.
#pragma once

#include <optional>

#include "cli/supervisor/life_end.hpp"

namespace pinfold::cli::link {

// -- from the monitor
inline constexpr char runs = 0;  ///< The first byte: the guest runs.
/// The second: the guest has ended in this way, and stays for inspection.
[[nodiscard]] constexpr char preserved_after(GuestEnd end) {
  return static_cast<char>(1 + static_cast<int>(end));
}
/// nullopt: no monitor writes this byte.
[[nodiscard]] constexpr std::optional<GuestEnd> preserved_end(char byte) {
  for (const auto end : {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog})
    if (byte == preserved_after(end)) return end;
  return std::nullopt;
}

// -- from the supervisor
inline constexpr char leave = 0;    ///< End the guest, and then yourself.
inline constexpr char renamed = 1;  ///< The guest, which is preserved, has another name.

}  // namespace pinfold::cli::link
