// Event channels for test guests: the hypercalls, and how each ABI takes pending events.
#pragma once

#include <xen/event_channel.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

#include "kit/kit.hpp"

namespace kit {

inline constexpr u64 millisecond = 1'000'000, second_ns = 1'000'000'000;
inline constexpr long enoent = -2, eexist = -17;

template <class Args>
long channel_op(u32 operation, Args& args) {
  return hypercall(__HYPERVISOR_event_channel_op, operation, &args);
}
inline u32 bind_ipi(u32 vcpu) {
  evtchn_bind_ipi args{vcpu, 0};
  CHECK_EQ(channel_op(EVTCHNOP_bind_ipi, args), 0);
  return args.port;
}
inline u32 bind_virq(u32 virq, u32 vcpu) {
  evtchn_bind_virq args{virq, vcpu, 0};
  CHECK_EQ(channel_op(EVTCHNOP_bind_virq, args), 0);
  return args.port;
}
inline long send(u32 port) {
  evtchn_send args{port};
  return channel_op(EVTCHNOP_send, args);
}
inline long unmask(u32 port) {
  evtchn_unmask args{port};
  return channel_op(EVTCHNOP_unmask, args);
}
inline long close(u32 port) {
  evtchn_close args{port};
  return channel_op(EVTCHNOP_close, args);
}
inline long bind_vcpu(u32 port, u32 vcpu) {
  evtchn_bind_vcpu args{port, vcpu};
  return channel_op(EVTCHNOP_bind_vcpu, args);
}
inline long poll(const u32* ports, u32 count, u64 until) {
  sched_poll args{};
  args.ports.p = const_cast<u32*>(ports);
  args.nr_ports = count;
  args.timeout = until;
  return hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &args);
}
inline void block() { CHECK_EQ(hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, nullptr), 0); }
inline long set_timer(u32 vcpu, u64 deadline) {
  vcpu_set_singleshot_timer timer{deadline, 0};
  return hypercall(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, vcpu, &timer);
}

// -- shared by all vCPUs
inline vcpu_info_t& info_of(u32 vcpu) { return shared()->vcpu_info[vcpu]; }
inline bool upcall_pending(u32 vcpu) {
  return __atomic_load_n(&info_of(vcpu).evtchn_upcall_pending, __ATOMIC_SEQ_CST) != 0;
}
inline void mask_upcalls(u32 vcpu, bool on) {
  __atomic_store_n(&info_of(vcpu).evtchn_upcall_mask, on ? 1 : 0, __ATOMIC_SEQ_CST);
}

/// The 2-level ABI.
namespace two_level {
inline bool is_pending(u32 port) {
  return (__atomic_load_n(&shared()->evtchn_pending[port / 64], __ATOMIC_SEQ_CST) >> port % 64 & 1) != 0;
}
inline void clear_pending(u32 port) {
  __atomic_and_fetch(&shared()->evtchn_pending[port / 64], ~(1UL << port % 64), __ATOMIC_SEQ_CST);
}
inline void set_mask(u32 port, bool on) {
  const u64 bit = 1UL << port % 64;
  u64* const at = &shared()->evtchn_mask[port / 64];
  on ? __atomic_or_fetch(at, bit, __ATOMIC_SEQ_CST) : __atomic_and_fetch(at, ~bit, __ATOMIC_SEQ_CST);
}
inline void mask_all() {
  for (u64& mask : shared()->evtchn_mask) __atomic_store_n(&mask, ~0UL, __ATOMIC_SEQ_CST);
}
inline u64 selector(u32 vcpu) { return __atomic_load_n(&info_of(vcpu).evtchn_pending_sel, __ATOMIC_SEQ_CST); }
/// Clears a vCPU's upcall and selector, but no ports.
inline void take_upcall(u32 vcpu) {
  __atomic_store_n(&info_of(vcpu).evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&info_of(vcpu).evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
}
}  // namespace two_level

/// The FIFO ABI: one page of event words, a control block for each of two vCPUs.
namespace fifo {
inline constexpr u32 pending = 1U << EVTCHN_FIFO_PENDING, masked = 1U << EVTCHN_FIFO_MASKED,
                     linked = 1U << EVTCHN_FIFO_LINKED, link_mask = EVTCHN_FIFO_LINK_MASK;
struct State {
  u32* words;
  evtchn_fifo_control_block* blocks[2];
  u32 heads[2][EVTCHN_FIFO_MAX_QUEUES];
};
inline State& state() {
  static State s{};
  return s;
}
inline long init(u32 vcpu, u64 frame, u32 offset) {
  evtchn_init_control args{frame, offset, vcpu, 0, {}};
  const long done = channel_op(EVTCHNOP_init_control, args);
  if (done == 0) CHECK_EQ(args.link_bits, EVTCHN_FIFO_LINK_BITS);
  return done;
}
inline long expand(u64 frame) {
  evtchn_expand_array args{frame};
  return channel_op(EVTCHNOP_expand_array, args);
}
inline void set_up(u32 vcpus) {
  State& s = state();
  for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) {
    Page* page = new_page();
    s.blocks[vcpu] = reinterpret_cast<evtchn_fifo_control_block*>(page);
    CHECK_EQ(init(vcpu, mfn_of(page), 0), 0);
  }
  Page* words = new_page();
  s.words = reinterpret_cast<u32*>(words);
  for (u32 i = 0; i < 1024; ++i) s.words[i] = masked;
  CHECK_EQ(expand(mfn_of(words)), 0);
}
inline u32 word_of(u32 port) { return __atomic_load_n(&state().words[port], __ATOMIC_SEQ_CST); }
inline u32 clear(u32 port, u32 bits) {
  return __atomic_fetch_and(&state().words[port], ~bits, __ATOMIC_SEQ_CST);
}
/// Takes all events of the vCPU that calls it. Returns their number, the first and the last.
struct Taken {
  u32 count = 0, first = 0, last = 0;
};
inline Taken take(u32 vcpu) {
  State& s = state();
  Taken taken;
  __atomic_store_n(&info_of(vcpu).evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  evtchn_fifo_control_block& block = *s.blocks[vcpu];
  u32 ready = __atomic_exchange_n(&block.ready, 0, __ATOMIC_SEQ_CST);
  while (ready != 0) {
    const u32 queue = static_cast<u32>(__builtin_ctz(ready));
    u32& head = s.heads[vcpu][queue];
    const u32 port = head != 0 ? head : __atomic_load_n(&block.head[queue], __ATOMIC_SEQ_CST);
    head = clear(port, linked | link_mask) & link_mask;
    if (head == 0) ready &= ~(1U << queue);
    if ((word_of(port) & (pending | masked)) == pending) {
      clear(port, pending);
      if (taken.count++ == 0) taken.first = port;
      taken.last = port;
    }
    ready |= __atomic_exchange_n(&block.ready, 0, __ATOMIC_SEQ_CST);
  }
  return taken;
}
}  // namespace fifo

}  // namespace kit
