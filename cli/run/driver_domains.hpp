// Devices whose backend is another guest of the machine: `backend=NAME` in disk and vif.
#pragma once

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

/// Adds those of a guest to its bus. An error is one line: a backend= names no guest of this machine.
[[nodiscard]] tl::expected<void, std::string> add_devices_of_driver_domains(devices::xenbus::Bus& bus,
                                                                            devices::xenstore::Store& store,
                                                                            const GuestConfig& config,
                                                                            DomId guest,
                                                                            const DomainNames& names);

}  // namespace pinfold::cli
