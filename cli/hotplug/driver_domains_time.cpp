#include "cli/hotplug/driver_domains_time.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "devices/xenbus/driver_domain_device.hpp"

namespace pinfold::cli {
namespace {

constexpr auto its_time = devices::xenbus::DriverDomainDevice::patience;

}  // namespace

/// A frontend that has let go of a device has no nodes of it any more.
std::optional<std::chrono::milliseconds> DriverDomainsTime::extension(const Json& device) {
  const bool has_let_go = flag_in(device, "present") && number_in(device, "backend_id").value_or(0) != 0 &&
                          text_in(device, "state").empty();
  if (begun_ || !has_let_go) return std::nullopt;
  begun_ = Clock::now();
  // A monitor that is busy looks later.
  return 2 * its_time;
}

void DriverDomainsTime::say_if_it_was_up() const {
  // The command looks a little later than the monitor begins to count.
  if (begun_ && Clock::now() - *begun_ >= its_time - std::chrono::seconds(1))
    fmt::print(stderr, "pinfold: the driver domain has not let go of the device within {} s; it is gone\n",
               its_time.count());
}

}  // namespace pinfold::cli
