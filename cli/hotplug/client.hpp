// The client's side of the commands for a running guest's devices: it opens what they need with the user's
// rights.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/disk_config.hpp"
#include "cli/config/vif_config.hpp"
#include "cli/control/guests.hpp"
#include "cli/control/protocol.hpp"
#include "cli/hotplug/device_record.hpp"

namespace pinfold::cli {

using ClientAnswer = tl::expected<Json, std::string>;

/// Which of a guest's devices.
struct DeviceOfGuest {
  std::string kind;  ///< "vbd", "vif"
  std::uint32_t number = 0;
};
/// For the guest's next life. What is in the way is said on stderr.
void note(const RunningGuest& guest, const DeviceOfGuest& device, const DeviceChange& change);

/// Opens, inspects and locks the image, and passes it to the guest's monitor. Of an image that is not raw, it
/// starts a server, which may open what `allowed` names besides the image's own folder (--allow-image).
/// Returns when the guest has the disk. Notices go to stderr.
[[nodiscard]] ClientAnswer attach_disk(const RunningGuest& guest, const DiskConfig& disk,
                                       const std::vector<std::string>& allowed);

/// Makes the host's side of the interface, and passes it to the guest's monitor. The guest gets the interface
/// as the number behind its last one; an address that is not given is made of its UUID.
[[nodiscard]] ClientAnswer attach_interface(const RunningGuest& guest, const std::string& text,
                                            const VifConfig& vif);

/// Asks for a device that another guest of the machine serves, and waits until that guest's driver has taken
/// it (libxl waits for the same). If it has not in time, the device is taken back. The next life begins
/// without it: the device is the driver domain's of now.
[[nodiscard]] ClientAnswer attach_of_driver_domain(const RunningGuest& guest, const DeviceOfGuest& device,
                                                   const std::string& backend, const std::string& command,
                                                   const Json& request);

/// The interface of a number or of an address. An error is one line.
[[nodiscard]] tl::expected<DeviceOfGuest, std::string> find_interface(const RunningGuest& guest,
                                                                      const std::string& number_or_mac);

/// Asks the guest to let go of the device, and waits until it is gone. `force`: does not ask.
[[nodiscard]] ClientAnswer detach_device(const RunningGuest& guest, const DeviceOfGuest& device, bool force,
                                         std::chrono::milliseconds patience);

}  // namespace pinfold::cli
