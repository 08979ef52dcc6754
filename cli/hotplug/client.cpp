#include "cli/hotplug/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "cli/config/mac.hpp"
#include "cli/control/client.hpp"
#include "cli/hotplug/driver_domains_time.hpp"
#include "cli/hotplug/keeper.hpp"
#include "cli/json_number.hpp"
#include "cli/networks/networks.hpp"

namespace pinfold::cli {
namespace {

using Failed = tl::unexpected<std::string>;

std::string text_of(const Json& object, const char* key) { return text_in(object, key); }

tl::expected<std::vector<Json>, std::string> devices_of(const RunningGuest& guest, const std::string& kind) {
  const auto answer = ask_guest_named(guest, "devices");
  if (!answer) return Failed(answer.error());
  std::vector<Json> found;
  for (const Json& device : answer->at("devices"))
    if (text_of(device, "kind") == kind) found.push_back(device);
  return found;
}

std::string free_mac(const std::vector<Json>& interfaces, const vmm::Uuid& uuid, std::size_t index) {
  for (unsigned attempt = 0;; ++attempt) {
    std::string mac = mac_of(uuid, index, attempt);
    if (std::ranges::none_of(interfaces, [&](const Json& one) { return text_of(one, "mac") == mac; }))
      return mac;
  }
}

tl::expected<std::string, std::string> mac_for(const RunningGuest& guest, const std::vector<Json>& interfaces,
                                               const VifConfig& vif, std::uint32_t index) {
  for (const Json& one : interfaces)
    if (!vif.mac.empty() && text_of(one, "mac") == vif.mac)
      return Failed(
          fmt::format("interface {} has the address {} already", whole_number(one.at("number")), vif.mac));
  if (!vif.mac.empty()) return vif.mac;
  const auto status = ask_guest_named(guest, "status");
  if (!status) return Failed(status.error());
  const auto uuid = vmm::Uuid::parse(text_of(*status, "uuid"));
  if (!uuid) return Failed("the guest's monitor does not know its UUID");
  return free_mac(interfaces, *uuid, index);
}

tl::expected<MadeForDevice, std::string> make_host_side(const VifConfig& vif, std::uint32_t domain,
                                                        std::uint32_t index) {
  auto networks = Networks::open_one(vif, domain, index);
  if (!networks) return Failed(networks.error());
  MadeForDevice made;
  NetworkDescriptors opened = networks->take_descriptors();
  for (VifDescriptors& of : opened) {
    for (vmm::Fd& lane : of.lanes) made.descriptors.push_back(std::move(lane));
    if (of.capture.open()) made.descriptors.push_back(std::move(of.capture));
  }
  made.clean_up = std::make_shared<Networks>(std::move(*networks));
  return made;
}

KeeperNote keeper_of(const RunningGuest& guest, const DeviceOfGuest& device) {
  const DeviceChanges changes = noted_devices(guest.directory, guest.name);
  const auto its = changes.find({device.kind, device.number});
  return its == changes.end() ? KeeperNote{} : its->second.keeper;
}

/// The supervisor may be in another folder.
std::string text_for_later(std::string text, const VifConfig& vif) {
  namespace fs = std::filesystem;
  if (vif.capture.is_relative() && !vif.capture.empty())
    text += ",pcap=" + fs::absolute(vif.capture).string();
  if (const fs::path script = vif.script; script.is_relative() && script.has_parent_path())
    text += ",script=" + fs::absolute(script).string();
  return text;
}

}  // namespace

void note(const RunningGuest& guest, const DeviceOfGuest& device, const DeviceChange& change) {
  if (const auto noted =
          note_device(devices_path(guest.directory, guest.name), device.kind, device.number, change);
      !noted)
    fmt::print(stderr, "pinfold: {}\n", noted.error());
}

ClientAnswer attach_interface(const RunningGuest& guest, const std::string& text, const VifConfig& vif) {
  const auto interfaces = devices_of(guest, "vif");
  if (!interfaces) return Failed(interfaces.error());
  std::uint32_t index = 0;
  for (const Json& one : *interfaces)
    index = std::max(index, static_cast<std::uint32_t>(whole_number(one.at("number"))) + 1);
  VifConfig config = vif;
  auto mac = mac_for(guest, *interfaces, vif, index);
  if (!mac) return Failed(mac.error());
  config.mac = std::move(*mac);
  const std::string said = vif.mac.empty() ? fmt::format("{},mac={}", text, config.mac) : text;
  const Json request{{"number", index}, {"vif", said}};
  if (!vif.backend.empty()) {
    auto answer = attach_of_driver_domain(guest, {"vif", index}, vif.backend, "network-attach", request);
    if (!answer) return Failed(fmt::format("interface {}: {}", index, answer.error()));
    (*answer)["mac"] = config.mac;
    return answer;
  }
  auto kept = make_in_keeper([&] { return make_host_side(config, guest.note.id, index); });
  if (!kept) return Failed(kept.error());
  std::vector<int> passed{kept->tie.get()};
  for (const vmm::Fd& fd : kept->descriptors) passed.push_back(fd.get());
  auto answer = ask_guest_named(guest, "network-attach", request, 10, passed);
  if (!answer) return Failed(fmt::format("interface {}: {}", index, answer.error()));
  (*answer)["mac"] = config.mac;
  note(guest, {"vif", index}, {text_for_later(said, config), {}, KeeperNote::of(kept->process)});
  return answer;
}

tl::expected<DeviceOfGuest, std::string> find_interface(const RunningGuest& guest,
                                                        const std::string& number_or_mac) {
  const auto interfaces = devices_of(guest, "vif");
  if (!interfaces) return Failed(interfaces.error());
  const auto mac = canonical_mac(number_or_mac);
  for (const Json& one : *interfaces) {
    const std::uint64_t number = whole_number(one.at("number"));
    if (mac ? text_of(one, "mac") == *mac : std::to_string(number) == number_or_mac)
      return DeviceOfGuest{"vif", static_cast<std::uint32_t>(number)};
  }
  return Failed(fmt::format("the guest has no interface {}", number_or_mac));
}

ClientAnswer detach_device(const RunningGuest& guest, const DeviceOfGuest& device, bool force,
                           std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  Json which{{"kind", device.kind}, {"number", device.number}, {"force", force}};
  if (const auto begun = ask_guest_named(guest, "device-detach", which); !begun) return Failed(begun.error());
  const KeeperNote keeper = keeper_of(guest, device);
  note(guest, device, {std::nullopt, {}, keeper});
  auto end = Clock::now() + patience;
  DriverDomainsTime of_driver_domain;
  for (std::chrono::milliseconds pause{5};; pause = std::min(2 * pause, std::chrono::milliseconds(100))) {
    const auto now = ask_guest_named(guest, "device", which);
    if (!now) return Failed(now.error());
    if (const auto more = of_driver_domain.extension(*now)) end = Clock::now() + *more;
    if (!flag_in(*now, "present")) {
      // A server may have something to write to its image.
      constexpr int most_milliseconds = 30'000;
      if (!keeper.wait(most_milliseconds))
        fmt::print(stderr, "pinfold: what was made on the host for the device is still there\n");
    }
    if (!flag_in(*now, "present")) return Json{{"kind", device.kind}, {"number", device.number}};
    if (Clock::now() >= end) break;
    std::this_thread::sleep_for(pause);
  }
  const double seconds = std::chrono::duration<double>(patience).count();
  if (force)
    return Failed(
        fmt::format("the host has not finished what the guest asked of the device within {} s; it "
                    "goes when that is done",
                    seconds));
  return Failed(
      fmt::format("the guest has not let go of the device within {} s; it goes when the guest does, "
                  "and --force does not wait for that",
                  seconds));
}

}  // namespace pinfold::cli
