#include "devices/event_ports.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices {

tl::expected<Port, Errno> PortTable::open(EventPort::State state, VcpuId vcpu,
                                          const std::function<bool(Port)>& still_in_use) {
  const auto exhausted = [this] { return free_.empty() && ports_.size() >= limit_; };
  look_at_lingering(still_in_use, looks);
  if (exhausted()) look_at_lingering(still_in_use, last_looks - looks);
  if (exhausted()) return fail(Errno::enospc);
  if (free_.empty()) {
    free_.push(static_cast<std::uint32_t>(ports_.size()));
    ports_.emplace_back();
  }
  const std::uint32_t number = free_.top();
  free_.pop();
  ports_[number] = EventPort{std::move(state), vcpu};
  ++open_ports_;
  return Port(number);
}

void PortTable::look_at_lingering(const std::function<bool(Port)>& still_in_use, std::size_t count) {
  for (count = std::min(count, lingering_.size()); count != 0; --count) {
    const std::uint32_t number = lingering_.front();
    lingering_.pop_front();
    if (still_in_use && still_in_use(Port(number)))
      lingering_.push_back(number);
    else
      free_.push(number);
  }
}

EventPort* PortTable::find(Port port) {
  if (port.raw() >= ports_.size() || ports_[port.raw()].is<port_state::Closed>()) return nullptr;
  return &ports_[port.raw()];
}

void PortTable::close(Port port, bool lingers) {
  auto* open_port = find(port);
  if (open_port == nullptr) return;
  *open_port = EventPort{};
  --open_ports_;
  if (lingers)
    lingering_.push_back(port.raw());
  else
    free_.push(port.raw());
}

void PortTable::none_lingers() { look_at_lingering({}, lingering_.size()); }

void PortTable::set_limit(std::uint32_t limit) {
  limit_ = limit;
  if (ports_.size() <= limit) return;
  ports_.resize(limit);
  std::erase_if(lingering_, [limit](std::uint32_t number) { return number >= limit; });
  std::vector<std::uint32_t> kept;
  for (; !free_.empty() && free_.top() < limit; free_.pop()) kept.push_back(free_.top());
  free_ = decltype(free_)(std::greater<>(), std::move(kept));
}

}  // namespace pinfold::devices
