// Hypercall 32: what a guest asks of its ports.
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "devices/deferred_kick.hpp"
#include "devices/event_channels.hpp"
#include "devices/virq_kind.hpp"
#include "devices/woken_domain.hpp"

namespace pinfold::devices {
namespace {

// The layouts that guests were compiled with (xen/event_channel.h).
static_assert(sizeof(evtchn_alloc_unbound) == 8 && offsetof(evtchn_alloc_unbound, port) == 4);
static_assert(sizeof(evtchn_bind_interdomain) == 12 && offsetof(evtchn_bind_interdomain, local_port) == 8);
static_assert(sizeof(evtchn_bind_virq) == 12 && sizeof(evtchn_bind_ipi) == 8 &&
              sizeof(evtchn_bind_pirq) == 12);
static_assert(sizeof(evtchn_close) == 4 && sizeof(evtchn_send) == 4 && sizeof(evtchn_unmask) == 4);
static_assert(sizeof(evtchn_bind_vcpu) == 8 && sizeof(evtchn_status) == 24 && sizeof(evtchn_reset) == 2);
static_assert(sizeof(evtchn_init_control) == 24 && sizeof(evtchn_set_priority) == 8);

/// Fetches the operation's structure, and stores it back when the operation has something to tell in it.
template <class Args, class Operation>
std::int64_t in_out(vmm::Hypercall& call, Operation operation) {
  auto args = call.memory.fetch<Args>(call.pointer(1));
  if (!args) return to_rax(args.error());
  const Status done = operation(*args);
  return to_rax(done ? call.memory.store(call.pointer(1), *args) : done);
}

template <class Args, class Operation>
std::int64_t in(vmm::Hypercall& call, Operation operation) {
  auto args = call.memory.fetch<Args>(call.pointer(1));
  if (!args) return to_rax(args.error());
  return to_rax(operation(*args));
}

/// A domain has no physical interrupts (Xen: not permitted to any).
Status bind_pirq(const evtchn_bind_pirq& args) {
  if ((args.flags & ~std::uint32_t{BIND_PIRQ__WILL_SHARE}) != 0) return fail(Errno::einval);
  return fail(Errno::eperm);
}

}  // namespace

std::int64_t EventChannels::event_channel_op(vmm::Hypercall& call) {
  prepare();
  // An event may wake each vCPU that polls.
  call.spend(vcpu_infos_.size());
  switch (call.args[0]) {
    case EVTCHNOP_alloc_unbound:
      return in_out<evtchn_alloc_unbound>(call, [this](auto& args) { return alloc_unbound(args); });
    case EVTCHNOP_bind_interdomain:
      return in_out<evtchn_bind_interdomain>(call, [this](auto& args) { return bind_interdomain(args); });
    case EVTCHNOP_bind_virq:
      return in_out<evtchn_bind_virq>(call, [this](auto& args) { return bind_virq(args); });
    case EVTCHNOP_bind_ipi:
      return in_out<evtchn_bind_ipi>(call, [this](auto& args) { return bind_ipi(args); });
    case EVTCHNOP_bind_pirq: return in<evtchn_bind_pirq>(call, bind_pirq);
    case EVTCHNOP_bind_vcpu:
      return in<evtchn_bind_vcpu>(call, [this](auto& args) { return bind_vcpu(args); });
    case EVTCHNOP_close: return in<evtchn_close>(call, [this](auto& args) { return close(args); });
    case EVTCHNOP_send: return in<evtchn_send>(call, [&](auto& args) { return send(call, args); });
    case EVTCHNOP_unmask: return in<evtchn_unmask>(call, [this](auto& args) { return unmask(args); });
    case EVTCHNOP_status: return in_out<evtchn_status>(call, [this](auto& args) { return status(args); });
    case EVTCHNOP_reset: return in<evtchn_reset>(call, [&](auto& args) { return reset(call, args); });
    case EVTCHNOP_init_control:
      call.spend(EventBits::ports);  // looked at when the guest changes over
      return in_out<evtchn_init_control>(call, [&](auto& args) { return init_control(*call.held, args); });
    case EVTCHNOP_expand_array:
      call.spend(EventFifo::words_per_page);
      return in<evtchn_expand_array>(call, [&](auto& args) { return expand_array(*call.held, args); });
    case EVTCHNOP_set_priority:
      return in<evtchn_set_priority>(call, [this](auto& args) { return set_priority(args); });
    default: return to_rax(Errno::enosys);
  }
}

Status EventChannels::alloc_unbound(evtchn_alloc_unbound& args) {
  const Lock lock(network_->mutex_);
  if (auto allowed = only_self(args.dom); !allowed) return allowed;
  const DomId remote = args.remote_dom == DOMID_SELF ? self_ : DomId(args.remote_dom);
  const auto port = open_port(port_state::Unbound{remote}, VcpuId(0));
  if (!port) return fail(port.error());
  args.port = port->raw();
  return {};
}

Status EventChannels::bind_interdomain(evtchn_bind_interdomain& args) {
  DeferredKick kick;
  const Lock lock(network_->mutex_);
  auto* remote = domain(args.remote_dom);
  if (remote == nullptr) return fail(Errno::esrch);
  const Port remote_port(args.remote_port);
  // First, as on Xen: to a domain whose table is full, every port is ENOSPC.
  const auto local = open_port(port_state::Interdomain{remote->self_, remote_port}, VcpuId(0));
  if (!local) return fail(local.error());

  auto* waiting = remote->ports_.find(remote_port);
  const auto* unbound = waiting != nullptr ? waiting->as<port_state::Unbound>() : nullptr;
  if (unbound == nullptr || unbound->remote != self_) {
    ports_.close(*local, false);
    return fail(Errno::einval);
  }
  waiting->state = port_state::Interdomain{self_, *local};
  // What the peer sent before it was connected got lost, so it is always made up for (event_channel.h).
  raise(*local, kick);
  args.local_port = local->raw();
  return {};
}

Status EventChannels::bind_virq(evtchn_bind_virq& args) {
  if (args.virq >= NR_VIRQS) return fail(Errno::einval);
  const auto kind = kind_of(args.virq);
  if (kind != VirqKind::vcpu && args.vcpu != 0) return fail(Errno::einval);
  const Lock lock(network_->mutex_);
  if (!vcpu_exists(args.vcpu)) return fail(Errno::enoent);
  if (kind == VirqKind::global) return fail(Errno::ebusy);

  auto& slot = virq_ports_[args.vcpu][args.virq];
  if (slot != Port(0)) return fail(Errno::eexist);
  const auto port = open_port(port_state::Virq{args.virq}, VcpuId(args.vcpu));
  if (!port) return fail(port.error());
  slot = *port;
  args.port = port->raw();
  return {};
}

Status EventChannels::bind_ipi(evtchn_bind_ipi& args) {
  const Lock lock(network_->mutex_);
  if (!vcpu_exists(args.vcpu)) return fail(Errno::enoent);
  const auto port = open_port(port_state::Ipi{}, VcpuId(args.vcpu));
  if (!port) return fail(port.error());
  args.port = port->raw();
  return {};
}

Status EventChannels::bind_vcpu(const evtchn_bind_vcpu& args) {
  const Lock lock(network_->mutex_);
  if (!vcpu_exists(args.vcpu)) return fail(Errno::enoent);
  auto* port = ports_.find(Port(args.port));
  if (port == nullptr || port->is<port_state::Ipi>()) return fail(Errno::einval);
  const auto* virq = port->as<port_state::Virq>();
  if (virq != nullptr && kind_of(virq->virq) == VirqKind::vcpu) return fail(Errno::einval);
  port->vcpu = VcpuId(args.vcpu);
  return {};
}

Status EventChannels::close(const evtchn_close& args) {
  const Lock lock(network_->mutex_);
  if (ports_.find(Port(args.port)) == nullptr) return fail(Errno::einval);
  close_port(Port(args.port));
  return {};
}

Status EventChannels::send(vmm::Hypercall& call, const evtchn_send& args) {
  std::shared_ptr<const MonitorChannel> on_send;
  {
    WokenDomain woken(*network_);
    DeferredKick kick;
    const Lock lock(network_->mutex_);
    const auto* port = ports_.find(Port(args.port));
    if (port == nullptr || port->is<port_state::Virq>()) return fail(Errno::einval);
    if (port->is<port_state::Ipi>()) raise(Port(args.port), kick);
    if (port->is<port_state::Interdomain>()) send_to_peer(call, Port(args.port), kick, woken);
    if (const auto* monitor = port->as<port_state::Monitor>()) on_send = monitor->on_guest_send;
    // An unbound port drops what is sent.
  }
  if (!on_send || !*on_send) return {};
  call.spend(pvmmu::cost::ring);
  if ((*on_send)(call) == Served::some) call.completion = vmm::Completion::restart;
  return {};
}

Status EventChannels::unmask(const evtchn_unmask& args) {
  DeferredKick kick;
  const Lock lock(network_->mutex_);
  const auto* port = ports_.find(Port(args.port));
  if (port == nullptr) return fail(Errno::einval);
  auto& info = vcpu_infos_[port->vcpu.raw()];
  const Port number(args.port);
  const bool upcall =
      fifo_ ? fifo_->unmask(number, port->vcpu, port->priority, info) : bits_.unmask(number, info);
  if (upcall) kick.set(target_, number, port->vcpu, true);
  return {};
}

Status EventChannels::status(evtchn_status& args) {
  const Lock lock(network_->mutex_);
  if (auto allowed = only_self(args.dom); !allowed) return allowed;
  if (args.port >= ports_.limit()) return fail(Errno::einval);
  args.status = EVTCHNSTAT_closed;
  args.vcpu = 0;
  const auto* port = ports_.find(Port(args.port));
  if (port == nullptr) return {};

  args.vcpu = port->vcpu.raw();
  if (const auto* unbound = port->as<port_state::Unbound>()) {
    args.status = EVTCHNSTAT_unbound;
    args.u.unbound.dom = unbound->remote.raw();
  } else if (const auto* peer = port->as<port_state::Interdomain>()) {
    args.status = EVTCHNSTAT_interdomain;
    args.u.interdomain.dom = peer->remote.raw();
    args.u.interdomain.port = peer->remote_port.raw();
  } else if (port->is<port_state::Monitor>()) {
    args.status = EVTCHNSTAT_interdomain;
    args.u.interdomain.dom = monitor_domain.raw();
    args.u.interdomain.port = args.port;
  } else if (const auto* virq = port->as<port_state::Virq>()) {
    args.status = EVTCHNSTAT_virq;
    args.u.virq = virq->virq;
  } else {
    args.status = EVTCHNSTAT_ipi;
  }
  return {};
}

/// When enough was done for one stretch, the guest makes the hypercall again, and `reset_next_` says where
/// that goes on. A port that another vCPU opens meanwhile is closed, too: with one left open beyond the
/// 2-level ABI's ports, the table could not shrink to those.
Status EventChannels::reset(vmm::Hypercall& call, const evtchn_reset& args) {
  const Lock lock(network_->mutex_);
  if (auto allowed = only_self(args.dom); !allowed) return allowed;
  for (bool first = true; ports_.open_ports() != 0; first = false) {
    if (!first && call.has_done_enough()) {
      call.completion = vmm::Completion::restart;
      return {};
    }
    if (reset_next_ >= ports_.end()) reset_next_ = Port(1);
    const auto* closing = ports_.find(reset_next_);
    call.spend(closing != nullptr && closing->is<port_state::Virq>() ? vcpu_infos_.size() : 1);
    close_port(reset_next_);
    reset_next_ = reset_next_.plus(1);
  }
  reset_next_ = Port(1);
  fifo_.reset();
  ports_.set_limit(std::min(max_ports_, EventBits::ports));
  ports_.none_lingers();  // of the few that are left
  return {};
}

Status EventChannels::init_control(pvmmu::Held held, evtchn_init_control& args) {
  if (!vcpu_exists(args.vcpu)) return fail(Errno::enoent);
  if (args.offset > page_size - sizeof(evtchn_fifo_control_block) || args.offset % 8 != 0)
    return fail(Errno::einval);
  const VcpuId vcpu(args.vcpu);
  {
    const Lock lock(network_->mutex_);
    if (fifo_ && fifo_->has_control_block(vcpu)) return fail(Errno::einval);
  }
  // Another vCPU can't come in between: the domain's lock is held.
  auto page = target_.hold_frame(held, Mfn(args.control_gfn));
  if (!page) return fail(page.error());
  const Lock lock(network_->mutex_);
  if (!fifo_) switch_to_fifo();
  fifo_->set_control_block(vcpu, std::move(*page), args.offset);
  args.link_bits = EVTCHN_FIFO_LINK_BITS;
  return {};
}

Status EventChannels::expand_array(pvmmu::Held held, const evtchn_expand_array& args) {
  {
    const Lock lock(network_->mutex_);
    if (!fifo_) return fail(Errno::eopnotsupp);
    if (fifo_->is_full()) return fail(Errno::enospc);
  }
  auto page = target_.hold_frame(held, Mfn(args.array_gfn));
  if (!page) return fail(page.error());
  std::array<DeferredKick, EventFifo::words_per_page> kicks;
  const Lock lock(network_->mutex_);
  const Port first = fifo_->end();
  fifo_->add_page(std::move(*page));
  bool pollers_are_woken = false;
  for (std::uint32_t i = 0; i < kicks.size(); ++i) {
    auto* waiting = ports_.find(first.plus(i));
    if (waiting == nullptr || !std::exchange(waiting->pending_without_word, false)) continue;
    raise(first.plus(i), kicks[i]);
    if (pollers_are_woken) kicks[i].leave_pollers();
    pollers_are_woken = pollers_are_woken || kicks[i].is_set();
  }
  return {};
}

Status EventChannels::set_priority(const evtchn_set_priority& args) {
  const Lock lock(network_->mutex_);
  auto* port = ports_.find(Port(args.port));
  if (port == nullptr) return fail(Errno::einval);
  if (!fifo_) return fail(Errno::enosys);
  if (args.priority > EventFifo::lowest_priority) return fail(Errno::einval);
  port->priority = static_cast<std::uint8_t>(args.priority);
  return {};
}

}  // namespace pinfold::devices
