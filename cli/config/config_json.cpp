#include "cli/config/config_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/config/vdev.hpp"

namespace pinfold::cli {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json disk_json(const DiskConfig& disk) {
  return {{"vdev", disk.vdev},
          {"number", vdev_number(disk.vdev).value_or(0)},
          {"target", or_null(disk.target.string())},
          {"format", name_of(disk.format)},
          {"access", disk.read_only ? "ro" : "rw"},
          {"cdrom", disk.cdrom},
          {"discard", disk.discard},
          {"direct_io", disk.direct_io},
          {"script", or_null(disk.script)},
          {"backend", or_null(disk.backend)}};
}

Json vif_json(const VifConfig& vif) {
  return {{"mac", or_null(vif.mac)},
          {"bridge", or_null(vif.bridge)},
          {"script", or_null(vif.script)},
          {"vifname", or_null(vif.interface_name)},
          {"ip", vif.addresses},
          {"rate", vif.rate ? Json(*vif.rate) : Json(nullptr)},
          {"mtu", vif.mtu ? Json(*vif.mtu) : Json(nullptr)},
          {"model", or_null(vif.model)},
          {"type", or_null(vif.type)},
          {"gatewaydev", or_null(vif.gateway_device)},
          {"backend", or_null(vif.backend)},
          {"net", name_of(vif.net)},
          {"place", or_null(vif.place)},
          {"tcp", vif.tcp_ports},
          {"udp", vif.udp_ports},
          {"pcap", or_null(vif.capture.string())}};
}

Json cpus_json(const CpuLists& cpus) {
  if (cpus.of_all) return *cpus.of_all;
  return cpus.of_each.empty() ? Json(nullptr) : Json(cpus.of_each);
}

Json remark_json(const Remark& remark) {
  return {{"severity", name_of(remark.severity)},
          {"source", remark.source},
          {"line", remark.line == 0 ? Json(nullptr) : Json(remark.line)},
          {"message", remark.message}};
}

template <class List, class ToJson>
Json list_json(const List& list, ToJson&& to_json) {
  Json items = Json::array();
  for (const auto& item : list) items.push_back(to_json(item));
  return items;
}

std::string place_text(const boot_menu::FilePlace& place) { return "(" + place.device + ")" + place.path; }

Json entry_json(const boot_menu::MenuEntry& entry) {
  return {{"place", entry.parent + std::to_string(entry.place)},
          {"title", entry.title},
          {"id", or_null(entry.id)},
          {"submenu", entry.is_submenu}};
}

Json boot_json(const BootAnswer& answer) {
  if (!answer) return nullptr;
  if (!*answer) return {{"error", answer->error()}};
  const bootloader::FoundBoot& found = **answer;
  Json json{{"error", nullptr},
            {"kernel", place_text(found.boot.kernel)},
            {"ramdisks", list_json(found.boot.initrds, place_text)},
            {"cmdline", found.boot.arguments},
            {"menu", nullptr},
            {"entry", nullptr},
            {"entries", Json::array()}};
  if (!found.menu) return json;
  json["menu"] = place_text(found.menu->source);
  json["entry"] = found.entry;
  json["entries"] = list_json(found.menu->entries, entry_json);
  return json;
}

}  // namespace

std::string config_json(const LoadedConfig& config, const BootAnswer& boot) {
  const GuestConfig& guest = config.guest;
  const Json json{{"name", or_null(guest.name)},
                  {"uuid", guest.uuid ? Json(*guest.uuid) : Json(nullptr)},
                  {"type", "pv"},
                  {"kernel", or_null(guest.kernel.string())},
                  {"ramdisk", or_null(guest.initrd.string())},
                  {"cmdline", guest.command_line},
                  {"bootloader", or_null(guest.bootloader)},
                  {"bootloader_args", guest.bootloader_args},
                  {"boot", boot_json(boot)},
                  {"allow_images", guest.allowed_images},
                  {"memory_bytes", guest.memory_bytes},
                  {"max_memory_bytes", std::max(guest.memory_bytes, guest.max_memory_bytes)},
                  {"vcpus", guest.vcpus},
                  {"max_vcpus", std::max(guest.vcpus, guest.max_vcpus)},
                  {"cpus", cpus_json(guest.cpus)},
                  {"max_grant_frames", guest.max_grant_frames},
                  {"max_maptrack_frames", guest.max_maptrack_frames},
                  {"driver_domain", guest.driver_domain},
                  {"on_poweroff", name_of(guest.on_poweroff)},
                  {"on_reboot", name_of(guest.on_reboot)},
                  {"on_crash", name_of(guest.on_crash)},
                  {"on_watchdog", name_of(guest.on_watchdog)},
                  {"localtime", guest.localtime},
                  {"rtc_timeoffset", guest.rtc_offset_seconds},
                  {"disks", list_json(guest.disks, disk_json)},
                  {"vifs", list_json(guest.vifs, vif_json)},
                  {"remarks", list_json(config.remarks, remark_json)},
                  {"not_yet", list_json(config.not_yet, remark_json)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace pinfold::cli
