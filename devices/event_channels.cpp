// The ports of a domain, for its devices and for the hypercall.
#include <algorithm>
#include <utility>

#include "devices/deferred_kick.hpp"
#include "devices/event_channels.hpp"
#include "devices/virq_kind.hpp"
#include "devices/woken_domain.hpp"

namespace pinfold::devices {
EventChannels::EventChannels(DomId self, vmm::EventTarget& target, std::shared_ptr<EventSwitch> network,
                             std::uint32_t max_ports)
    : self_(self),
      target_(target),
      network_(network ? std::move(network) : std::make_shared<EventSwitch>()),
      max_ports_(max_ports),
      ports_(std::min(max_ports, EventBits::ports)) {
  const Lock lock(network_->mutex_);
  network_->domains_[self_] = this;
}

// Locking a mutex throws only when it is misused.
// NOLINTNEXTLINE(bugprone-exception-escape)
EventChannels::~EventChannels() {
  std::unique_lock lock(network_->mutex_);
  leave_switch(lock);
}

/// In pieces: a domain has up to 131,071 ports, and its neighbours' sends wait for the lock.
void EventChannels::leave_switch(std::unique_lock<std::mutex>& lock) {
  if (const auto found = network_->domains_.find(self_);
      found != network_->domains_.end() && found->second == this)
    network_->domains_.erase(found);
  constexpr std::uint32_t piece = 1024;
  for (Port port{1}; port < ports_.end(); port = port.plus(1)) {
    unbind_peer(port);
    if (port.raw() % piece != 0) continue;
    lock.unlock();
    lock.lock();
  }
  network_->woken_.wait(lock, [this] { return wakers_ == 0; });
}

void EventChannels::unbind_peer(Port port) {
  const auto* open_port = ports_.find(port);
  const auto* peer = open_port != nullptr ? open_port->as<port_state::Interdomain>() : nullptr;
  auto* other = peer != nullptr ? domain(peer->remote.raw()) : nullptr;
  auto* theirs = other != nullptr ? other->ports_.find(peer->remote_port) : nullptr;
  if (theirs == nullptr) return;
  // While this domain leaves, its peer may have closed its end, and used the number again.
  const auto* back = theirs->as<port_state::Interdomain>();
  if (back != nullptr && back->remote == self_ && back->remote_port == port)
    theirs->state = port_state::Unbound{self_};
}

void EventChannels::register_with(vmm::HypercallTable& table) {
  prepare();
  table.set(__HYPERVISOR_event_channel_op, "event_channel_op",
            [this](vmm::Hypercall& call) { return event_channel_op(call); });
}

void EventChannels::detach() {
  prepare();  // The target is asked for its pages once, so from here on never again.
  std::unique_lock lock(network_->mutex_);
  leave_switch(lock);
  ports_ = PortTable(std::min(max_ports_, EventBits::ports));
  fifo_.reset();
  bits_ = EventBits();
  vcpu_infos_.clear();
  virq_ports_.clear();
}

Port EventChannels::open_monitor_channel(MonitorChannel on_guest_send) {
  auto shared = std::make_shared<const MonitorChannel>(std::move(on_guest_send));
  const Lock lock(network_->mutex_);
  return open_port(port_state::Monitor{std::move(shared)}, VcpuId(0)).value_or(Port(0));
}

void EventChannels::raise_virq(VcpuId vcpu, std::uint32_t virq) {
  prepare();
  DeferredKick kick;
  const Lock lock(network_->mutex_);
  if (virq >= NR_VIRQS || !vcpu_exists(vcpu.raw())) return;
  const std::uint32_t owner = kind_of(virq) == VirqKind::vcpu ? vcpu.raw() : 0;
  if (const Port port = virq_ports_[owner][virq]; port != Port(0)) raise(port, kick);
}

void EventChannels::notify_guest(Port port) {
  prepare();
  DeferredKick kick;
  const Lock lock(network_->mutex_);
  const auto* open_port = ports_.find(port);
  if (open_port != nullptr && open_port->is<port_state::Monitor>()) raise(port, kick);
}

void MonitorEnd::notify_guest() {
  DeferredKick kick;
  const EventChannels::Lock lock(channels_.network_->mutex_);
  if (channels_.is_connected_to(port_, channel_)) channels_.raise(port_, kick);
}

bool EventChannels::is_pending(Port port) {
  prepare();
  const Lock lock(network_->mutex_);
  if (ports_.find(port) == nullptr) return false;
  return fifo_ ? fifo_->is_pending(port) : bits_.is_pending(port);
}

bool EventChannels::is_valid(Port port) {
  const Lock lock(network_->mutex_);
  return port.raw() < ports_.limit();
}

void EventChannels::vcpu_info_moved(VcpuId vcpu) {
  prepare();
  const auto place = target_.vcpu_info(vcpu);
  {
    const Lock lock(network_->mutex_);
    if (!vcpu_exists(vcpu.raw())) return;
    vcpu_infos_[vcpu.raw()] = place;
    EventBits::select_all(vcpu_infos_[vcpu.raw()]);
  }
  target_.kick(vcpu);
}

void EventChannels::prepare() {
  std::call_once(prepared_, [this] {
    const EventBits bits(target_.shared_info());
    std::vector<vmm::VcpuInfoPlace> places;
    for (VcpuId v{0}; v.raw() < target_.vcpu_count(); v = v.plus(1)) places.push_back(target_.vcpu_info(v));
    const Lock lock(network_->mutex_);
    bits_ = bits;
    virq_ports_.resize(places.size());
    vcpu_infos_ = std::move(places);
  });
}

/// Other domains' ports are for privileged domains, which no guest is.
Status EventChannels::only_self(std::uint16_t dom) const {
  if (dom == DOMID_SELF || DomId(dom) == self_) return {};
  return fail(network_->domains_.contains(DomId(dom)) ? Errno::eperm : Errno::esrch);
}

EventChannels* EventChannels::domain(std::uint16_t dom) {
  if (dom == DOMID_SELF) return this;
  const auto found = network_->domains_.find(DomId(dom));
  return found == network_->domains_.end() ? nullptr : found->second;
}

tl::expected<Port, Errno> EventChannels::open_port(EventPort::State state, VcpuId vcpu) {
  if (!fifo_) return ports_.open(std::move(state), vcpu);
  return ports_.open(std::move(state), vcpu, [this](Port port) { return fifo_->is_linked(port); });
}

void EventChannels::raise(Port port, DeferredKick& kick) {
  EventPort& open_port = *ports_.find(port);
  const VcpuId vcpu = open_port.vcpu;
  auto& info = vcpu_infos_[vcpu.raw()];
  if (fifo_ && !fifo_->has_word(port)) {
    open_port.pending_without_word = true;
    return;
  }
  const auto raised =
      fifo_ ? fifo_->set_pending(port, vcpu, open_port.priority, info) : bits_.set_pending(port, info);
  if (raised != Raised::already) kick.set(target_, port, vcpu, raised == Raised::upcall);
}

/// What is pending in the 2-level words waits for the pages of the event array.
void EventChannels::switch_to_fifo() {
  fifo_.emplace(static_cast<std::uint32_t>(vcpu_infos_.size()));
  ports_.set_limit(std::min(max_ports_, EventFifo::ports));
  for (Port port{1}; port < ports_.end(); port = port.plus(1)) {
    auto* open_port = ports_.find(port);
    if (open_port != nullptr) open_port->pending_without_word = bits_.is_pending(port);
  }
}

void EventChannels::clear_pending(Port port) {
  fifo_ ? fifo_->clear_pending(port) : bits_.clear_pending(port);
}

void EventChannels::send_to_peer(vmm::Hypercall& call, Port port, DeferredKick& kick, WokenDomain& woken) {
  const auto* peer = ports_.find(port)->as<port_state::Interdomain>();
  auto* other = domain(peer->remote.raw());
  if (other == nullptr) return;
  const auto* theirs = other->ports_.find(peer->remote_port);
  const auto* back = theirs != nullptr ? theirs->as<port_state::Interdomain>() : nullptr;
  if (back == nullptr || back->remote != self_ || back->remote_port != port) return;
  call.spend(other->vcpu_infos_.size());  // each of them may poll
  if (other != this) woken.keep(*other);
  other->raise(peer->remote_port, kick);
}

void EventChannels::close_port(Port port) {
  const auto* closing = ports_.find(port);
  if (closing == nullptr) return;
  if (const auto* virq = closing->as<port_state::Virq>()) {
    for (auto& bound : virq_ports_) {
      if (bound[virq->virq] == port) bound[virq->virq] = Port(0);
    }
  }
  unbind_peer(port);
  ports_.close(port, fifo_ && fifo_->is_linked(port));
  // The next port with this number must not begin with an old event.
  clear_pending(port);
}

}  // namespace pinfold::devices
