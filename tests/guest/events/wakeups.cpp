// No wake-up is lost. Two vCPUs take turns: each notifies the other and then sleeps until it is notified,
// with all delays between notification and sleep. On the command line `pairs=N` says how often. `fifo` uses
// the FIFO ABI instead of the 2-level one, `poll` SCHEDOP_poll instead of SCHEDOP_block. With `awake` a vCPU
// does not sleep, but runs its own code until the upcall interrupts it.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

extern "C" char kit_stack_top[];

namespace {

bool by_fifo = false, by_poll = false, awake = false;
u64 pairs = 2000;
u32 ports[2];  ///< The one that notifies each vCPU.
u32 alarm = 0;
u64 turn = 0;  ///< Even: vCPU 0's.
u64 sleeps[2] = {}, upcalls[2] = {};
bool lost = false;

u32 on_which(const Frame& frame) {
  const u64 at = word(&frame);
  return at < word(kit_stack_top) && at >= word(kit_stack_top) - 32768 ? 0 : 1;
}

void forget_events(u32 vcpu) {
  if (by_fifo) {
    if (by_poll) fifo::clear(ports[vcpu], fifo::pending);
    fifo::take(vcpu);
    return;
  }
  two_level::take_upcall(vcpu);
  two_level::clear_pending(ports[vcpu]);
  if (vcpu == 0) two_level::clear_pending(alarm);
}

void on_event(Frame& frame) {
  const u32 vcpu = on_which(frame);
  forget_events(vcpu);
  __atomic_add_fetch(&upcalls[vcpu], 1, __ATOMIC_SEQ_CST);
}

/// A timer wakes vCPU 0 if nobody else does; then a notification was lost.
void watch(u64 now) {
  static u64 armed_until = 0;
  if (armed_until != 0 && now < armed_until - 10 * second_ns) return;
  armed_until = now + 20 * second_ns;
  set_timer(0, armed_until);
}

/// This vCPU's n-th turn comes with its n-th upcall, not by a change of memory alone.
void run_until_upcall(u32 vcpu, u64 wanted) {
  const u64 needed = (wanted + 1) / 2;
  const u64 limit = now_ns() + 20 * second_ns;
  while (__atomic_load_n(&upcalls[vcpu], __ATOMIC_SEQ_CST) < needed && !lost) {
    if (now_ns() > limit) __atomic_store_n(&lost, true, __ATOMIC_SEQ_CST);
  }
}

void wait_for_turn(u32 vcpu, u64 wanted) {
  if (awake) run_until_upcall(vcpu, wanted);
  while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != wanted) {
    const u64 before = vcpu == 0 ? now_ns() : 0;
    if (by_poll) {
      poll(&ports[vcpu], 1, vcpu == 0 ? before + 20 * second_ns : 0);
      forget_events(vcpu);
    } else {
      mask_upcalls(vcpu, true);
      // If the notification came first, it is pending, and the block returns at once.
      if (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != wanted) block();
      mask_upcalls(vcpu, false);
    }
    ++sleeps[vcpu];
    if (vcpu == 0 && now_ns() > before + 15 * second_ns) {
      lost = true;
      return;
    }
  }
}

/// Waits for a different time on each call: up to some microseconds.
void spin(u64 n) {
  for (u64 i = (n * 2654435761UL >> 7) % 512; i != 0; --i) asm volatile("pause");
}

void play(u32 vcpu) {
  for (u64 n = vcpu; n < 2 * pairs && !lost; n += 2) {
    wait_for_turn(vcpu, n);
    spin(n);
    __atomic_store_n(&turn, n + 1, __ATOMIC_SEQ_CST);
    send(ports[1 - vcpu]);
    spin(n + 7);
    if (vcpu == 0 && !by_poll && !awake) watch(now_ns());
  }
}

void second() {
  mask_upcalls(1, by_poll);
  play(1);
  for (;;) vcpu_op(VCPUOP_down, 1);
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  CHECK_EQ(vcpu_op(VCPUOP_stop_periodic_timer, 1), 0);
  by_fifo = asked_for("fifo");
  by_poll = asked_for("poll");
  awake = asked_for("awake");
  pairs = number_behind("pairs=", pairs);
  two_level::mask_all();
  if (by_fifo) fifo::set_up(2);
  for (u32 vcpu = 0; vcpu < 2; ++vcpu) ports[vcpu] = bind_ipi(vcpu);
  alarm = bind_virq(VIRQ_TIMER, 0);
  for (u32 port : {ports[0], ports[1], alarm}) {
    if (by_poll) continue;
    by_fifo ? static_cast<void>(fifo::clear(port, fifo::masked)) : two_level::set_mask(port, false);
  }
  forget_events(0);

  vcpu_guest_context_t& context = context_of(second);
  context.event_callback_eip = word(kit_event_entry);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  mask_upcalls(0, by_poll);
  const u64 begin = now_ns();
  play(0);
  wait_for_turn(0, 2 * pairs);
  mask_upcalls(0, true);
  CHECK(!lost);
  CHECK_EQ(__atomic_load_n(&turn, __ATOMIC_SEQ_CST), 2 * pairs);
  say("pairs ", static_cast<long>(pairs), ", slept ", static_cast<long>(sleeps[0] + sleeps[1]), " times, ",
      static_cast<long>((now_ns() - begin) / millisecond), " ms");
}
