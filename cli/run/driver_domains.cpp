#include "cli/run/driver_domains.hpp"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "cli/config/vdev.hpp"
#include "cli/run/interfaces.hpp"
#include "cli/supervisor/neighbours.hpp"

namespace pinfold::cli {
namespace {

using devices::xenbus::DeviceFolders;
using devices::xenbus::DeviceName;
using devices::xenbus::DeviceNodes;
using devices::xenbus::DriverDomainDevice;

}  // namespace

tl::expected<std::unique_ptr<devices::xenbus::BusDevice>, std::string> device_of_driver_domain(
    const DriverDomains& among, DomId guest, const std::string& kind, std::uint32_t number,
    const std::string& backend, std::string label, DeviceFolders folders) {
  const auto domain = among.names->find(backend);
  if (!domain) return tl::unexpected(no_such_backend(backend));
  if (*domain == guest)
    return tl::unexpected(fmt::format("backend={}: a guest can't serve a device to itself", backend));
  return std::make_unique<DriverDomainDevice>(*among.store, DeviceName{kind, guest, number, *domain},
                                              std::move(label), std::move(folders));
}

/// docs/misc/xenstore-paths and libxl_disk.c; a hotplug script of the driver domain adds physical-device.
DeviceFolders folders_of(const DiskConfig& disk) {
  const std::string kind = disk.cdrom ? "cdrom" : "disk";
  DeviceNodes back{{"params", disk.target.string()},
                   {"script", disk.script.empty() ? "/etc/xen/scripts/block" : disk.script},
                   {"type", "phy"},
                   {"dev", disk.vdev},
                   {"mode", disk.read_only ? "r" : "w"},
                   {"device-type", kind},
                   {"removable", disk.cdrom ? "1" : "0"},
                   {"bootable", "1"},
                   {"discard-enable", disk.discard ? "1" : "0"}};
  if (disk.direct_io) back.push_back({"direct-io-safe", "1"});
  return {std::move(back),
          {{"virtual-device", std::to_string(vdev_number(disk.vdev).value_or(0))}, {"device-type", kind}}};
}

/// Without the node script, Linux's netback refuses the device (drivers/net/xen-netback/xenbus.c).
DeviceFolders folders_of(const VifConfig& vif, std::uint32_t number) {
  auto nodes = nodes_of(vif, number);
  DeviceNodes back = std::move(nodes.more), front{{"handle", std::to_string(number)}, {"mac", vif.mac}};
  back.insert(back.end(), front.begin(), front.end());
  if (vif.script.empty()) back.push_back({"script", "/etc/xen/scripts/vif-bridge"});
  if (!vif.gateway_device.empty()) back.push_back({"gatewaydev", vif.gateway_device});
  if (vif.mtu)
    for (DeviceNodes* const folder : {&back, &front}) folder->push_back({"mtu", std::to_string(*vif.mtu)});
  return {std::move(back), std::move(front)};
}

tl::expected<void, std::string> add_devices_of_driver_domains(devices::xenbus::Bus& bus,
                                                              const DriverDomains& among,
                                                              const GuestConfig& config, DomId guest) {
  const auto add = [&](const char* kind, std::uint32_t number, const std::string& backend,
                       const std::string& label, DeviceFolders folders) -> tl::expected<void, std::string> {
    auto device = device_of_driver_domain(among, guest, kind, number, backend, label, std::move(folders));
    if (!device) return tl::unexpected(label + ": " + device.error());
    bus.add(std::move(*device));
    return {};
  };
  for (const DiskConfig& disk : config.disks) {
    if (disk.backend.empty()) continue;
    if (auto added = add("vbd", vdev_number(disk.vdev).value_or(0), disk.backend, "disk " + disk.vdev,
                         folders_of(disk));
        !added)
      return added;
  }
  for (std::size_t n = 0; n < config.vifs.size(); ++n) {
    const VifConfig& vif = config.vifs[n];
    if (vif.backend.empty()) continue;
    const std::uint32_t number = vif.number.value_or(static_cast<std::uint32_t>(n));
    if (auto added = add("vif", number, vif.backend, fmt::format("vif {}", number), folders_of(vif, number));
        !added)
      return added;
  }
  return {};
}

}  // namespace pinfold::cli
