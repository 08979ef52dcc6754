#include "cli/hotplug/restart_notice.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "cli/config/vdev.hpp"

namespace pinfold::cli {
namespace {

AttachedDevices configured_devices(const GuestConfig& config) {
  AttachedDevices all;
  for (const DiskConfig& disk : config.disks)
    if (const auto number = vdev_number(disk.vdev)) all.insert({{"vbd", *number}, disk.vdev});
  for (std::size_t n = 0; n < config.vifs.size(); ++n) {
    const auto number = config.vifs[n].number.value_or(static_cast<std::uint32_t>(n));
    all.insert({{"vif", number}, fmt::format("vif {}", number)});
  }
  return all;
}

}  // namespace

std::optional<std::string> restart_notice(const GuestConfig& config, const std::set<DeviceKey>& had,
                                          const AttachedDevices& attached) {
  const AttachedDevices configured = configured_devices(config);
  std::vector<std::string> lost, back, as_configured;
  for (const auto& [device, name] : attached)
    if (had.contains(device)) (configured.contains(device) ? as_configured : lost).push_back(name);
  for (const auto& [device, name] : configured)
    if (!had.contains(device)) back.push_back(name);
  std::vector<std::string> parts;
  if (!lost.empty()) parts.push_back(fmt::format("without {}", fmt::join(lost, ", ")));
  if (!back.empty()) parts.push_back(fmt::format("again with {}", fmt::join(back, ", ")));
  if (!as_configured.empty())
    parts.push_back(fmt::format("with {} as configured", fmt::join(as_configured, ", ")));
  if (parts.empty()) return std::nullopt;
  return fmt::format(
      "the guest starts again beside others, and so with the devices of its configuration: {}; attach and "
      "detach them anew",
      fmt::join(parts, "; "));
}

}  // namespace pinfold::cli
