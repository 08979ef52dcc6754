#include "devices/event_ports.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices {

tl::expected<Port, Errno> PortTable::open(EventPort::State state, VcpuId vcpu) {
  auto free = std::find_if(ports_.begin() + 1, ports_.end(),
                           [](const EventPort& p) { return p.is<port_state::Closed>(); });
  if (free == ports_.end()) {
    if (ports_.size() >= limit_) return fail(Errno::enospc);
    free = ports_.emplace(ports_.end());
  }
  *free = EventPort{std::move(state), vcpu};
  return Port(static_cast<std::uint32_t>(free - ports_.begin()));
}

EventPort* PortTable::find(Port port) {
  if (port.raw() >= ports_.size() || ports_[port.raw()].is<port_state::Closed>()) return nullptr;
  return &ports_[port.raw()];
}

void PortTable::close(Port port) {
  if (auto* open_port = find(port)) *open_port = EventPort{};
}

}  // namespace pinfold::devices
