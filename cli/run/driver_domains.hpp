// Devices whose backend is another guest of the machine: `backend=NAME` in disk and vif.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "cli/config/guest_config.hpp"
#include "cli/run/domain_names.hpp"
#include "devices/xenbus/bus.hpp"
#include "devices/xenbus/driver_domain_device.hpp"

namespace pinfold::cli {

/// What libxl writes for them. Paths and scripts in it are the driver domain's: this host uses none.
[[nodiscard]] devices::xenbus::DeviceFolders folders_of(const DiskConfig& disk);
[[nodiscard]] devices::xenbus::DeviceFolders folders_of(const VifConfig& vif, std::uint32_t number);

/// What finds driver domains, and where devices of theirs are written.
struct DriverDomains {
  std::shared_ptr<devices::xenstore::Store> store;
  std::shared_ptr<DomainNames> names;
};

/// A device of `guest` that the guest `backend` of its machine serves. `label` is "disk xvda". An error is
/// one line: `backend` is no guest of this machine, or the guest itself.
[[nodiscard]] tl::expected<std::unique_ptr<devices::xenbus::BusDevice>, std::string> device_of_driver_domain(
    const DriverDomains& among, DomId guest, const std::string& kind, std::uint32_t number,
    const std::string& backend, std::string label, devices::xenbus::DeviceFolders folders);

/// Adds those of a guest to its bus. An error is one line: a backend= names no guest of this machine.
[[nodiscard]] tl::expected<void, std::string> add_devices_of_driver_domains(devices::xenbus::Bus& bus,
                                                                            const DriverDomains& among,
                                                                            const GuestConfig& config,
                                                                            DomId guest);

}  // namespace pinfold::cli
