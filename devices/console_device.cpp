#include "devices/console_device.hpp"

#include <utility>

namespace pinfold::devices {

void ConsoleDevice::attach(vmm::HypercallTable&, BootRings& rings) {
  rings.console.port = events_.open_monitor_channel([this](vmm::Hypercall&) {
    if (console_) console_->on_guest_event();
    return Served::all;
  });
}

tl::expected<void, std::string> ConsoleDevice::start(pvmmu::Held held, const BootRings& rings) {
  auto page = guest_.hold_frame(held, rings.console.frame);
  if (!page) return tl::unexpected(std::string("the console ring can't be held"));
  console_ = std::make_unique<Console>(
      std::move(*page), std::move(sink_),
      [&events = events_, port = rings.console.port] { events.notify_guest(port); });
  return {};
}

void ConsoleDevice::detach() { console_.reset(); }

}  // namespace pinfold::devices
