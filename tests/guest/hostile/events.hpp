// Timer events at the shortest distance at which the guest still gets on, for guests that are to be
// interrupted everywhere.
#pragma once

#include <xen/event_channel.h>
#include <xen/vcpu.h>

#include "kit/user_mode.hpp"

namespace kit {

inline evtchn_port_t timer_port = 0;
inline constexpr u64 shortest_period = 200'000, longest_period = 20'000'000;  // ns
inline u64 timer_period = shortest_period;  ///< ns from one event to the next.
inline u64 timer_events = 0;

inline void arm_timer() {
  // A deadline in the past is due at once.
  vcpu_set_singleshot_timer timer{now_ns() + timer_period, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, &timer), 0);
}

/// Handles an event and requests the next one. `progress` is another number whenever the guest got on since
/// the last event. On a host that needs longer for an event than the shortest period, the guest would only
/// ever take events.
inline void take_timer_event(u64 progress) {
  static u64 last = 0;
  timer_period = progress == last ? 2 * timer_period : timer_period / 2;
  if (timer_period < shortest_period) timer_period = shortest_period;
  if (timer_period > longest_period) timer_period = longest_period;
  last = progress;
  vcpu_info_t& self = shared()->vcpu_info[0];
  __atomic_store_n(&self.evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&self.evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
  __atomic_and_fetch(&shared()->evtchn_pending[timer_port / 64], ~(1UL << timer_port % 64), __ATOMIC_SEQ_CST);
  ++timer_events;
  arm_timer();
}

/// Makes timer events arrive at vCPU 0 as traps with event_vector, once events are unmasked.
inline void start_timer_events() {
  callback_register event{};
  event.type = CALLBACKTYPE_event;
  event.address = word(kit_event_entry);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &event), 0);
  evtchn_bind_virq bind{VIRQ_TIMER, 0, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind), 0);
  timer_port = bind.port;
  for (u64& mask : shared()->evtchn_mask) mask = ~0UL;  // no events of the console
  shared()->evtchn_mask[timer_port / 64] &= ~(1UL << timer_port % 64);
  arm_timer();
}

}  // namespace kit
