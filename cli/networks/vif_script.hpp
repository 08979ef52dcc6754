// The user's hotplug scripts for network interfaces, run as xl runs them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <tl/expected.hpp>

#include "cli/config/vif_config.hpp"
#include "cli/networks/child.hpp"

namespace pinfold::cli {

/// Which interface a script is run for.
struct VifOfGuest {
  const VifConfig& config;
  std::uint32_t domain = 0;  ///< The guest's ID.
  std::size_t index = 0;     ///< The interface's place among the guest's.
  std::string device;        ///< The tap device: "vif5.0".
};

enum class VifScriptCall : std::uint8_t { online, offline };

/// What is executed: libxl's arguments and environment. A script without a slash is one of
/// /etc/xen/scripts. Scripts that read xenstore find no store of the guest's at that time; therefore bridge,
/// mac, ip and mtu are in the environment, too.
[[nodiscard]] ChildPlan script_plan(const VifOfGuest& vif, VifScriptCall call);

/// Runs it, for at most `most_seconds`. An error is one line.
[[nodiscard]] tl::expected<void, std::string> run_script(const VifOfGuest& vif, VifScriptCall call,
                                                         int most_seconds = 30);

}  // namespace pinfold::cli
