#include "cli/hotplug/hot_plug.hpp"

#include <fmt/format.h>

#include <utility>

#include "cli/run/interfaces.hpp"
#include "devices/block/empty_image.hpp"
#include "devices/block/nbd_library.hpp"
#include "devices/block/request_ring.hpp"
#include "devices/queue_thread_reserve.hpp"

namespace pinfold::cli {

namespace block = devices::block;
using devices::xenbus::Departure;

tl::expected<std::unique_ptr<HotPlug>, std::string> HotPlug::make(devices::xenbus::Bus& bus, DomId guest,
                                                                  block::DiskLinks links,
                                                                  DriverDomains driver_domains,
                                                                  const Neighbours& neighbours) {
  std::unique_ptr<HotPlug> made(
      new HotPlug(bus, guest, std::move(links), std::move(driver_domains), neighbours.macs));
  std::vector<std::string> macs;
  for (const VifConfig& vif : neighbours.vifs) {
    made->addresses_[static_cast<std::uint32_t>(macs.size())] = vif.mac;
    macs.push_back(vif.mac);
  }
  const auto entered = neighbours.macs->enter(
      guest, neighbours.name, macs,
      [&hot_plug = *made](const std::string& mac) { return hot_plug.interface_of(mac); });
  if (!entered) return tl::unexpected(entered.error());
  auto threads = devices::QueueThreadReserve::make(most, made->links_.wake_bus);
  if (!threads) return tl::unexpected(threads.error());
  made->links_.threads = std::move(*threads);
  auto transfers = block::TransferReserve::make(most, block::RequestRing::size);
  if (!transfers) return tl::unexpected(transfers.error());
  made->transfers_ = std::move(*transfers);
  auto wakes = devices::WakeReserve::make(most);
  if (!wakes) return tl::unexpected(wakes.error());
  made->wakes_ = std::move(*wakes);
  made->arrivals_ = std::make_unique<Arrivals>([&hot_plug = *made](auto nodes, auto image) {
    return hot_plug.add_disk(std::move(nodes), std::move(image));
  });
  return made;
}

namespace {

/// All that can be in the way of one more device, as people need to know it.
tl::unexpected<std::string> no_room() {
  return tl::unexpected(fmt::format(
      "{} devices are attached already, and a guest can have no more; detach one", HotPlug::most));
}

}  // namespace

HotPlug::Done HotPlug::attach_disk(block::DiskNodes nodes, block::PassedImage image) {
  if (bus_.has("vbd", nodes.number)) return tl::unexpected(std::string("the guest has this device already"));
  if (links_.threads->free() == 0) return no_room();
  auto taken = block::take_over_image(std::move(image), transfers_);
  if (!taken) return tl::unexpected(taken.error());
  return add_disk(std::move(nodes), std::move(*taken));
}

HotPlug::Done HotPlug::attach_empty_drive(block::DiskNodes nodes) {
  if (bus_.has("vbd", nodes.number)) return tl::unexpected(std::string("the guest has this device already"));
  return add_disk(std::move(nodes), std::make_shared<block::EmptyImage>(wakes_));
}

HotPlug::Done HotPlug::attach_served_disk(ServedDisk disk) {
  if (bus_.has("vbd", disk.nodes.number))
    return tl::unexpected(std::string("the guest has this device already"));
  if (links_.threads->free() == 0) return no_room();
  // Loaded before the guest ran, or never.
  if (const auto library = block::NbdLibrary::load(); !library)
    return tl::unexpected(library.error() + "; and start the guest anew");
  disk.options.wakes = wakes_;
  return arrivals_->add(std::move(disk));
}

HotPlug::Done HotPlug::add_disk(block::DiskNodes nodes, std::shared_ptr<block::Image> image) {
  const DeviceKey device("vbd", nodes.number);
  std::string name = nodes.vdev;
  if (links_.threads->free() == 0) return no_room();
  auto disk = block::Disk::make(std::move(image), std::move(nodes), links_, 1);
  if (!disk) return tl::unexpected(disk.error());
  return plug(device, std::move(name), std::move(*disk));
}

HotPlug::Done HotPlug::plug(const DeviceKey& device, std::string name,
                            std::unique_ptr<devices::xenbus::Backend> backend) {
  auto plugged = bus_.plug({device.first, guest_, device.second}, std::move(backend));
  if (plugged) note(device, std::move(name));
  return plugged;
}

void HotPlug::note(const DeviceKey& device, std::string name) {
  const std::lock_guard lock(mutex_);
  attached_[device] = std::move(name);
}

HotPlug::Done HotPlug::attach_of_driver_domain(const DeviceKey& device, std::string name,
                                               const std::string& backend,
                                               devices::xenbus::DeviceFolders folders) {
  const std::string label = device.first == "vbd" ? "disk " + name : name;
  auto made = device_of_driver_domain(driver_domains_, guest_, device.first, device.second, backend, label,
                                      std::move(folders));
  if (!made) return tl::unexpected(made.error());
  auto plugged = bus_.plug(std::move(*made));
  if (plugged) note(device, std::move(name));
  return plugged;
}

AttachedDevices HotPlug::attached() const {
  const std::lock_guard lock(mutex_);
  return attached_;
}

/// Before the guest is complete, it has all that it is to have.
std::optional<std::uint32_t> HotPlug::interface_of(const std::string& mac) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [index, address] : addresses_)
    if (address == mac && (!configured_ || bus_.has("vif", index))) return index;
  return std::nullopt;
}

void HotPlug::configured() {
  const std::lock_guard lock(mutex_);
  configured_ = true;
}

HotPlug::Done HotPlug::take_address(const VifConfig& vif, std::uint32_t index,
                                    const std::function<Done()>& plugs) {
  return macs_->take(guest_, vif.mac, [&]() -> Done {
    if (auto plugged = plugs(); !plugged) return plugged;
    const std::lock_guard lock(mutex_);
    addresses_[index] = vif.mac;
    return {};
  });
}

HotPlug::Done HotPlug::attach_disk_of_driver_domain(std::uint32_t number, std::string vdev,
                                                    const std::string& backend,
                                                    devices::xenbus::DeviceFolders folders) {
  return attach_of_driver_domain({"vbd", number}, std::move(vdev), backend, std::move(folders));
}

HotPlug::Done HotPlug::attach_interface_of_driver_domain(const VifConfig& vif, std::uint32_t index) {
  return take_address(vif, index, [&] {
    return attach_of_driver_domain({"vif", index}, fmt::format("vif {}", index), vif.backend,
                                   folders_of(vif, index));
  });
}

HotPlug::Done HotPlug::attach_interface(const VifConfig& vif, std::uint32_t index,
                                        VifDescriptors descriptors) {
  if (bus_.has("vif", index)) return tl::unexpected(std::string("the guest has this device already"));
  if (links_.threads->free() == 0) return no_room();
  auto made = make_interface(
      vif, index, std::move(descriptors),
      {links_.events, links_.grants, links_.frame_holder, links_.wake_bus, links_.threads, links_.trusted},
      1);
  if (!made) return tl::unexpected(made.error());
  return take_address(vif, index, [&] {
    return plug({"vif", index}, fmt::format("vif {}", index), std::move(*made));
  });
}

HotPlug::Done HotPlug::detach(const std::string& kind, std::uint32_t number, bool forced) {
  if (bus_.unplug(kind, number, forced ? Departure::forced : Departure::asked)) return {};
  return tl::unexpected(std::string("the guest has no such device"));
}

}  // namespace pinfold::cli
