// What a guest loses that starts again in its machine, beside others.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "cli/config/guest_config.hpp"

namespace pinfold::cli {

/// A device's kind ("vbd", "vif") and number.
using DeviceKey = std::pair<std::string, std::uint32_t>;
/// Devices that commands attached, and what users call them: "xvdb", "vif 1".
using AttachedDevices = std::map<DeviceKey, std::string>;

/// Its next life has the devices of its configuration (docs/decisions/hot-plug.md). One line that names those
/// that differ from the ones it had at its end, of which `attached` are some; nullopt: none differs.
[[nodiscard]] std::optional<std::string> restart_notice(const GuestConfig& config,
                                                        const std::set<DeviceKey>& had,
                                                        const AttachedDevices& attached);

}  // namespace pinfold::cli
