#include "cli/config/device_specs.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "cli/config/vdev.hpp"

namespace pinfold::cli {
namespace {

/// Puts disks in their places by their numbers.
class DiskList {
 public:
  DiskList(GuestConfig& guest, std::vector<DevicePlace>& places, Remarks& remarks)
      : guest_(guest), places_(places), remarks_(remarks) {}

  void add(const DevicePlace& place, DiskConfig disk) {
    const std::uint32_t number = vdev_number(disk.vdev).value_or(0);
    const auto [known, is_new] = by_number_.emplace(number, guest_.disks.size());
    if (guest_.disks.size() == most_disks && is_new) {
      by_number_.erase(known);
      if (!is_full_)
        remarks_.push_back(place.remark(Severity::error, fmt::format("more than {} disks", most_disks)));
      is_full_ = true;
    } else if (is_new) {
      guest_.disks.push_back(std::move(disk));
      places_.push_back(place);
    } else if (place.is_option && !places_[known->second].is_option) {
      guest_.disks[known->second] = std::move(disk);
      places_[known->second] = place;
    } else {
      remarks_.push_back(
          place.remark(Severity::error, fmt::format("{} is the same disk as {} before it (number {})",
                                                    disk.vdev, guest_.disks[known->second].vdev, number)));
    }
  }

 private:
  GuestConfig& guest_;
  std::vector<DevicePlace>& places_;
  Remarks& remarks_;
  std::map<std::uint32_t, std::size_t> by_number_;
  bool is_full_ = false;
};

void use_vif(const DeviceSpecs::Vif& vif, const std::optional<std::string>& rate_error, GuestConfig& guest,
             Remarks& remarks) {
  if (!vif.spec) {
    remarks.push_back(vif.place.remark(Severity::error, vif.spec.error()));
    return;
  }
  if (guest.vifs.size() >= most_vifs) {
    if (!has_errors(remarks))
      remarks.push_back(vif.place.remark(Severity::error, fmt::format("more than {} interfaces", most_vifs)));
    return;
  }
  if (rate_error)
    remarks.push_back(
        vif.place.remark(Severity::error, fmt::format("rate={}: {}", *vif.spec->config.rate, *rate_error)));
  for (const std::string& word : vif.spec->unknown)
    remarks.push_back(
        vif.place.remark(Severity::warning, fmt::format("{} is ignored: xl does not know it", word)));
  for (const std::string& word : vif.spec->unused)
    remarks.push_back(vif.place.remark(Severity::notice, fmt::format("{} is ignored", word)));
  guest.vifs.push_back(vif.spec->config);
}

bool has_rate(const DeviceSpecs::Vif& vif) { return vif.spec && vif.spec->config.rate; }

}  // namespace

Remark DevicePlace::remark(Severity severity, const std::string& message) const {
  return {severity, source, line, word.empty() ? message : fmt::format("{}: {}", word, message)};
}

void DeviceSpecs::add_disk(DevicePlace place, std::string text) {
  disks.push_back({std::move(place), disk_spec(std::move(text))});
}

void DeviceSpecs::add_vif(DevicePlace place, const std::string& text) {
  vifs.push_back({std::move(place), parse_vif(text)});
}

XlSpecs DeviceSpecs::for_library() const {
  XlSpecs specs;
  for (const Disk& disk : disks) specs.disks.push_back(disk.spec.for_library);
  for (const Vif& vif : vifs)
    if (has_rate(vif)) specs.rates.push_back(*vif.spec->config.rate);
  return specs;
}

bool add_devices(const DeviceSpecs& specs, const XlAnswer& answer, GuestConfig& guest,
                 std::vector<DevicePlace>& disk_places, Remarks& remarks) {
  const XlSpecs asked = specs.for_library();
  if (answer.disks.size() != asked.disks.size() || answer.rate_errors.size() != asked.rates.size())
    return false;
  DiskList disks(guest, disk_places, remarks);
  for (std::size_t i = 0; i < specs.disks.size(); ++i) {
    const auto& [place, spec] = specs.disks[i];
    auto disk = disk_config(spec, answer.disks[i]);
    if (disk)
      disks.add(place, std::move(*disk));
    else
      remarks.push_back(place.remark(Severity::error, fmt::format("'{}': {}", spec.text, disk.error())));
  }
  std::size_t rate = 0;
  for (const auto& vif : specs.vifs)
    use_vif(vif, has_rate(vif) ? answer.rate_errors[rate++] : std::nullopt, guest, remarks);
  return true;
}

}  // namespace pinfold::cli
