// Devices that a running guest gets, and those that it gives back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/vif_config.hpp"
#include "cli/hotplug/arrivals.hpp"
#include "cli/hotplug/mac_addresses.hpp"
#include "cli/hotplug/restart_notice.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/run/driver_domains.hpp"
#include "devices/block/disk.hpp"
#include "devices/block/passed_image.hpp"
#include "devices/xenbus/bus.hpp"

namespace pinfold::cli {

/// A monitor's side of the commands that attach and detach devices. All that a device needs and that a
/// confined monitor can't make is made here before the guest runs, for `most` devices with one queue each:
/// threads, and rings of the host's kernel.
///
/// Concurrency: any thread. No call waits for the guest.
class HotPlug {
 public:
  /// How many attached devices a guest can have at a time, besides those of its configuration.
  static constexpr std::size_t most = 8;
  /// Descriptors of such a device: what carries it, its tie, a capture, a peer that connects; what wakes its
  /// queue, its ring's two, and what wakes the queue of a disk with a server.
  static constexpr std::size_t descriptors_of_each = 8;

  using Done = tl::expected<void, std::string>;

  /// The guest among others, of which none has an address of its interfaces.
  struct Neighbours {
    std::shared_ptr<MacAddresses> macs;
    std::string name;
    const std::vector<VifConfig>& vifs;  ///< Those of its configuration.
  };

  /// `bus` and what `links` names outlive this. An error is one line.
  [[nodiscard]] static tl::expected<std::unique_ptr<HotPlug>, std::string> make(
      devices::xenbus::Bus& bus, DomId guest, devices::block::DiskLinks links, DriverDomains driver_domains,
      const Neighbours& neighbours);
  ~HotPlug() { macs_->leave(guest_); }
  HotPlug(const HotPlug&) = delete;
  HotPlug& operator=(const HotPlug&) = delete;

  /// Errors are one line, without the device's name.
  [[nodiscard]] Done attach_disk(devices::block::DiskNodes nodes, devices::block::PassedImage image);
  /// A CD-ROM drive without a medium.
  [[nodiscard]] Done attach_empty_drive(devices::block::DiskNodes nodes);
  /// Returns at once; the disk comes when its server has answered.
  [[nodiscard]] Done attach_served_disk(ServedDisk disk);
  /// What became of that.
  [[nodiscard]] Arrivals::Outcome arrival_of(std::uint32_t number) const { return arrivals_->of(number); }
  [[nodiscard]] Done attach_interface(const VifConfig& vif, std::uint32_t index, VifDescriptors descriptors);
  /// A device that the guest `backend` of the machine serves. It needs nothing of the monitor's, and does not
  /// count among `most`. Returns before that guest has taken the device.
  [[nodiscard]] Done attach_disk_of_driver_domain(std::uint32_t number, std::string vdev,
                                                  const std::string& backend,
                                                  devices::xenbus::DeviceFolders folders);
  [[nodiscard]] Done attach_interface_of_driver_domain(const VifConfig& vif, std::uint32_t index);
  /// Begins a device's end, which has come when has() is false. `forced`: the guest is not waited for.
  [[nodiscard]] Done detach(const std::string& kind, std::uint32_t number, bool forced);

  /// Makes a disk larger, or tells the guest how large it is now; returns its bytes.
  [[nodiscard]] tl::expected<std::uint64_t, std::string> resize_disk(std::uint32_t number,
                                                                     std::optional<std::uint64_t> bytes) {
    return bus_.grow("vbd", number, bytes);
  }

  /// The interfaces of the configuration are on the bus.
  void configured();
  /// From here on nothing comes, and others may have the guest's addresses. Call it while `bus` is there.
  void stop() {
    arrivals_->stop();
    macs_->leave(guest_);
  }

  [[nodiscard]] const devices::xenbus::Bus& bus() const { return bus_; }
  /// All that were attached, also those that are gone.
  [[nodiscard]] AttachedDevices attached() const;

 private:
  HotPlug(devices::xenbus::Bus& bus, DomId guest, devices::block::DiskLinks links, DriverDomains domains,
          std::shared_ptr<MacAddresses> macs)
      : bus_(bus),
        guest_(guest),
        links_(std::move(links)),
        driver_domains_(std::move(domains)),
        macs_(std::move(macs)) {}

  [[nodiscard]] std::optional<std::uint32_t> interface_of(const std::string& mac) const;
  /// `plugs` puts the interface on the bus.
  [[nodiscard]] Done take_address(const VifConfig& vif, std::uint32_t index,
                                  const std::function<Done()>& plugs);
  [[nodiscard]] Done attach_of_driver_domain(const DeviceKey& device, std::string name,
                                             const std::string& backend,
                                             devices::xenbus::DeviceFolders folders);

  [[nodiscard]] Done add_disk(devices::block::DiskNodes nodes, std::shared_ptr<devices::block::Image> image);
  [[nodiscard]] Done plug(const DeviceKey& device, std::string name,
                          std::unique_ptr<devices::xenbus::Backend> backend);
  void note(const DeviceKey& device, std::string name);

  devices::xenbus::Bus& bus_;
  const DomId guest_;
  devices::block::DiskLinks links_;
  const DriverDomains driver_domains_;
  const std::shared_ptr<MacAddresses> macs_;
  std::shared_ptr<devices::block::TransferReserve> transfers_;
  std::shared_ptr<devices::WakeReserve> wakes_;
  std::unique_ptr<Arrivals> arrivals_;
  mutable std::mutex mutex_;
  AttachedDevices attached_;                        ///< Guarded by the mutex; so are:
  std::map<std::uint32_t, std::string> addresses_;  ///< By interface, also of those that are gone.
  bool configured_ = false;
};

}  // namespace pinfold::cli
