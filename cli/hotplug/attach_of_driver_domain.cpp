// How a client gives a running guest a device that another guest of its machine serves.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "cli/control/client.hpp"
#include "cli/hotplug/client.hpp"
#include "devices/xenbus/bus_state.hpp"

namespace pinfold::cli {
namespace {

using devices::xenbus::BusState;
using Failed = tl::unexpected<std::string>;

/// As libxl waits for a backend (LIBXL_INIT_TIMEOUT).
constexpr std::chrono::seconds patience{10};

tl::expected<void, std::string> wait_until_taken(const RunningGuest& guest, const DeviceOfGuest& device,
                                                 const std::string& backend) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + patience;
  for (std::chrono::milliseconds pause{2}; Clock::now() < end;
       pause = std::min(2 * pause, std::chrono::milliseconds(100))) {
    const auto now = ask_guest_named(guest, "device", {{"kind", device.kind}, {"number", device.number}});
    if (!now) return Failed(now.error());
    if (!flag_in(*now, "present")) return Failed("it has been detached again");
    const auto state = static_cast<BusState>(number_in(*now, "backend_state").value_or(0));
    if (state == BusState::closed || state == BusState::unknown)
      return Failed(fmt::format("backend={}: the driver domain has given it up, or has ended", backend));
    if (state != BusState::initialising) return {};
    std::this_thread::sleep_for(pause);
  }
  return Failed(fmt::format("backend={}: no driver of the driver domain has taken the device within {} s",
                            backend, patience.count()));
}

}  // namespace

ClientAnswer attach_of_driver_domain(const RunningGuest& guest, const DeviceOfGuest& device,
                                     const std::string& backend, const std::string& command,
                                     const Json& request) {
  const auto answer = ask_guest_named(guest, command, request);
  if (!answer) return Failed(answer.error());
  note(guest, device, {});
  const auto taken = wait_until_taken(guest, device, backend);
  if (taken) return answer;
  (void)ask_guest_named(guest, "device-detach",
                        {{"kind", device.kind}, {"number", device.number}, {"force", true}});
  return Failed(taken.error());
}

}  // namespace pinfold::cli
