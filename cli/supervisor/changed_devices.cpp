#include "cli/supervisor/changed_devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/config/device_texts.hpp"
#include "cli/config/vdev.hpp"

namespace pinfold::cli {
namespace {

using Failed = tl::unexpected<std::string>;

std::string first_error(const Remarks& remarks) {
  for (const Remark& remark : remarks)
    if (remark.severity == Severity::error) return remark.message;
  return "it can't be understood any more";
}

/// In the place of a disk of the same number, if there is one: the first disk stays the first.
void put_disk(GuestConfig& config, std::uint32_t number, std::optional<DiskConfig> disk) {
  const auto place = std::find_if(config.disks.begin(), config.disks.end(),
                                  [&](const DiskConfig& one) { return vdev_number(one.vdev) == number; });
  if (place == config.disks.end()) {
    if (disk) config.disks.push_back(std::move(*disk));
  } else if (disk) {
    *place = std::move(*disk);
  } else {
    config.disks.erase(place);
  }
}

void put_interface(GuestConfig& config, std::uint32_t number, std::optional<VifConfig> vif) {
  std::erase_if(config.vifs, [&](const VifConfig& one) { return one.number == number; });
  if (!vif) return;
  vif->number = number;
  config.vifs.push_back(std::move(*vif));
}

tl::expected<void, std::string> change(GuestConfig& config, const std::string& kind, std::uint32_t number,
                                       const DeviceChange& its) {
  const auto failed = [&](const Remarks& remarks) {
    return Failed(fmt::format("{} {}, which was attached: {}", kind == "vbd" ? "disk" : "interface", number,
                              first_error(remarks)));
  };
  if (kind == "vbd") {
    std::optional<DiskConfig> disk;
    if (its.text) {
      auto read = read_disk(*its.text);
      if (!read) return failed(read.error());
      disk = std::move(read->config);
    }
    put_disk(config, number, std::move(disk));
    config.allowed_images.insert(config.allowed_images.end(), its.allowed_images.begin(),
                                 its.allowed_images.end());
  } else if (kind == "vif") {
    std::optional<VifConfig> vif;
    if (its.text) {
      auto read = read_vif(*its.text);
      if (!read) return failed(read.error());
      vif = std::move(read->config);
    }
    put_interface(config, number, std::move(vif));
  }
  return {};
}

}  // namespace

tl::expected<GuestConfig, std::string> with_changes(GuestConfig config, const DeviceChanges& changes) {
  for (std::size_t n = 0; n < config.vifs.size(); ++n)
    if (!config.vifs[n].number) config.vifs[n].number = static_cast<std::uint32_t>(n);
  for (const auto& [device, its] : changes)
    if (auto changed = change(config, device.first, device.second, its); !changed)
      return Failed(changed.error());
  return config;
}

void wait_for_keepers(const DeviceChanges& changes) {
  // As long as a server may take to write what it has.
  constexpr int most_milliseconds = 30'000;
  for (const auto& [device, its] : changes)
    if (!its.keeper.wait(most_milliseconds))
      fmt::print(stderr, "pinfold: {} {} of the last life is not gone after {} s\n", device.first,
                 device.second, most_milliseconds / 1000);
}

}  // namespace pinfold::cli
