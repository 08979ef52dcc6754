#include "cli/hotplug/driver_domains_time.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "devices/xenbus/driver_domain_device.hpp"

namespace pinfold::cli {
namespace {

constexpr auto its_time = devices::xenbus::DriverDomainDevice::patience;
constexpr std::chrono::seconds silence{2};

}  // namespace

/// A frontend that has let go of a device has no nodes of it any more.
std::optional<std::chrono::milliseconds> DriverDomainsTime::extension(const Json& device) {
  const bool has_let_go = flag_in(device, "present") && number_in(device, "backend_id").value_or(0) != 0 &&
                          text_in(device, "state").empty();
  if (!has_let_go) return std::nullopt;
  if (!begun_) {
    begun_ = Clock::now();
    // A monitor that is busy looks later.
    return 2 * its_time;
  }
  if (Clock::now() - *begun_ >= silence && !std::exchange(told_, true))
    fmt::print(stderr,
               "pinfold: the guest has let go of the device, and its driver domain has {} s for that\n",
               its_time.count());
  return std::nullopt;
}

}  // namespace pinfold::cli
