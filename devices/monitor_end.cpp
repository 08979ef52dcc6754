// Channels that the guest opened for a backend of the monitor's.
#include "devices/event_channels.hpp"

namespace pinfold::devices {

tl::expected<std::unique_ptr<MonitorEnd>, Errno> EventChannels::bind_monitor_channel(
    Port port, MonitorChannel on_guest_send) {
  auto channel = std::make_shared<const MonitorChannel>(std::move(on_guest_send));
  const Lock lock(network_->mutex_);
  EventPort* waiting = ports_.find(port);
  const auto* unbound = waiting != nullptr ? waiting->as<port_state::Unbound>() : nullptr;
  if (unbound == nullptr || unbound->remote != monitor_domain) return fail(Errno::einval);
  waiting->state = port_state::Monitor{channel};
  return std::unique_ptr<MonitorEnd>(new MonitorEnd(*this, port, std::move(channel)));
}

bool EventChannels::is_connected_to(Port port, const std::shared_ptr<const MonitorChannel>& channel) {
  const EventPort* open_port = ports_.find(port);
  const auto* monitor = open_port != nullptr ? open_port->as<port_state::Monitor>() : nullptr;
  return monitor != nullptr && monitor->on_guest_send == channel;
}

bool MonitorEnd::is_connected() {
  const EventChannels::Lock lock(channels_.network_->mutex_);
  return channels_.is_connected_to(port_, channel_);
}

MonitorEnd::~MonitorEnd() {
  const EventChannels::Lock lock(channels_.network_->mutex_);
  if (channels_.is_connected_to(port_, channel_))
    channels_.ports_.find(port_)->state = port_state::Unbound{monitor_domain};
}

}  // namespace pinfold::devices
