#include "devices/xenbus/bus_device.hpp"

namespace pinfold::devices::xenbus {

void BusDevice::depart(Departure how) {
  auto before = departure_.load();
  while (before < how && !departure_.compare_exchange_weak(before, how)) {
  }
}

}  // namespace pinfold::devices::xenbus
