#include "devices/event_ports.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices {

tl::expected<Port, Errno> PortTable::open(EventPort::State state, VcpuId vcpu,
                                          const std::function<bool(Port)>& in_use) {
  const auto closed = [this](std::size_t i) { return ports_[i].is<port_state::Closed>(); };
  while (all_open_below_ < ports_.size() && !closed(all_open_below_)) ++all_open_below_;
  std::size_t free = all_open_below_;
  const auto number = [&free] { return Port(static_cast<std::uint32_t>(free)); };
  while (free < limit_ && ((free < ports_.size() && !closed(free)) || (in_use && in_use(number())))) ++free;
  if (free >= limit_) return fail(Errno::enospc);
  if (free >= ports_.size()) ports_.resize(free + 1);
  ports_[free] = EventPort{std::move(state), vcpu};
  return number();
}

EventPort* PortTable::find(Port port) {
  if (port.raw() >= ports_.size() || ports_[port.raw()].is<port_state::Closed>()) return nullptr;
  return &ports_[port.raw()];
}

void PortTable::close(Port port) {
  if (auto* open_port = find(port)) {
    *open_port = EventPort{};
    all_open_below_ = std::min<std::size_t>(all_open_below_, port.raw());
  }
}

void PortTable::set_limit(std::uint32_t limit) {
  limit_ = limit;
  if (ports_.size() > limit) ports_.resize(limit);
  all_open_below_ = std::min<std::size_t>(all_open_below_, ports_.size());
}

}  // namespace pinfold::devices
