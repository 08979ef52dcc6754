// What happens to a guest that has ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pinfold::cli {

/// As on_poweroff, on_reboot, on_crash and on_watchdog in xl.cfg(5).
enum class EndAction : std::uint8_t {
  destroy,
  restart,         ///< It starts again, from its image.
  preserve,        ///< It stays as it is, for inspection, until it is destroyed.
  rename_restart,  ///< It stays under another name, and a new one starts.
};

/// As xl.cfg(5) writes it: "destroy", "restart", "preserve", "rename-restart".
[[nodiscard]] const char* name_of(EndAction action);
/// Nothing for any other word.
[[nodiscard]] std::optional<EndAction> end_action(std::string_view word);

}  // namespace pinfold::cli
