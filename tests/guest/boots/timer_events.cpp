// A timer's event stays pending while events are masked, arrives when they are unmasked, and
// wakes a sleeping guest.
#include <xen/event_channel.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 millisecond = 1'000'000;
u64 upcalls = 0;
evtchn_port_t port = 0;

vcpu_info_t& self() { return shared()->vcpu_info[0]; }

void clear_pending() {
  __atomic_store_n(&self().evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&self().evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
  __atomic_and_fetch(&shared()->evtchn_pending[port / 64], ~(1UL << port % 64), __ATOMIC_SEQ_CST);
}

void on_event(Frame& frame) {
  CHECK_EQ(frame.vector, event_vector);
  CHECK_EQ(self().evtchn_upcall_mask, 1);
  CHECK_EQ(frame.cs >> 32, 0);
  CHECK(__atomic_load_n(&shared()->evtchn_pending[port / 64], __ATOMIC_SEQ_CST) >> port % 64 & 1);
  ++upcalls;
  clear_pending();
}

void set_timer(u64 deadline) {
  vcpu_set_singleshot_timer timer{deadline, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, &timer), 0);
}

long poll_port(u64 timeout) {
  sched_poll poll{};
  poll.ports.p = &port;
  poll.nr_ports = 1;
  poll.timeout = timeout;
  return hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  evtchn_bind_virq bind{VIRQ_TIMER, 0, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind), 0);
  port = bind.port;
  CHECK(port != 0);
  for (u64& word_of_mask : shared()->evtchn_mask) word_of_mask = ~0UL;  // no events of the console
  shared()->evtchn_mask[port / 64] &= ~(1UL << port % 64);
  clear_pending();

  // Masked: the poll returns with the event pending, and no upcall.
  u64 deadline = now_ns() + 20 * millisecond;
  set_timer(deadline);
  CHECK_EQ(poll_port(0), 0);
  CHECK(now_ns() >= deadline);
  CHECK_EQ(self().evtchn_upcall_pending, 1);
  CHECK_EQ(upcalls, 0);

  // Unmasked: it comes at the next return from the hypervisor.
  self().evtchn_upcall_mask = 0;
  hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
  CHECK_EQ(upcalls, 1);
  CHECK_EQ(self().evtchn_upcall_mask, 0);
  self().evtchn_upcall_mask = 1;

  // Blocking unmasks events.
  deadline = now_ns() + 20 * millisecond;
  set_timer(deadline);
  CHECK_EQ(hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, 0), 0);
  CHECK(now_ns() >= deadline);
  CHECK_EQ(upcalls, 2);

  // The upcall interrupts running code.
  set_timer(now_ns() + 20 * millisecond);
  const u64 limit = now_ns() + 5000 * millisecond;
  while (__atomic_load_n(&upcalls, __ATOMIC_SEQ_CST) == 2 && now_ns() < limit) {
  }
  CHECK_EQ(upcalls, 3);
  self().evtchn_upcall_mask = 1;

  // A poll that times out: nothing is pending.
  deadline = now_ns() + 10 * millisecond;
  CHECK_EQ(poll_port(deadline), 0);
  CHECK(now_ns() >= deadline);
  CHECK_EQ(self().evtchn_upcall_pending, 0);
}
