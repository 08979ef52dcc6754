// A lock like Linux's under Xen, with more vCPUs than the host has processors: a vCPU that waits for long
// sleeps in SCHEDOP_poll until the holder sends it an event. No wake-up is lost, and there is never more
// than one holder. Options: `vcpus=N`, and `rounds=N` for each of them. With `spin` a waiter never sleeps,
// with `yield` it yields.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u32 most = 16;
u64 vcpus = 2, rounds = 100;
bool spins = false, yields = false;
u32 ports[most];
u64 waits_for[most] = {};  ///< The ticket for which a vCPU sleeps, plus 1; 0: it does not sleep.
u64 next_ticket = 0, served = 0;
u64 inside = 0, met = 0, counter = 0, started = 0, finished = 0, slept = 0;

u64 load(const u64& from) { return __atomic_load_n(&from, __ATOMIC_SEQ_CST); }
void store(u64& to, u64 value) { __atomic_store_n(&to, value, __ATOMIC_SEQ_CST); }

bool comes_soon(u64 ticket) {
  for (u64 i = 0; i < 200; ++i) {
    if (load(served) == ticket) return true;
    asm volatile("pause");
  }
  return false;
}

void lock(u32 vcpu) {
  const u64 ticket = __atomic_fetch_add(&next_ticket, 1, __ATOMIC_SEQ_CST);
  if (comes_soon(ticket)) return;
  while (spins || yields) {
    if (yields) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
    if (comes_soon(ticket)) return;
  }
  store(waits_for[vcpu], ticket + 1);
  for (;;) {
    two_level::clear_pending(ports[vcpu]);
    if (load(served) == ticket) break;
    poll(&ports[vcpu], 1, 0);
    __atomic_add_fetch(&slept, 1, __ATOMIC_SEQ_CST);
  }
  store(waits_for[vcpu], 0);
}

void unlock() {
  const u64 now = load(served) + 1;
  store(served, now);
  for (u32 vcpu = 0; vcpu < vcpus; ++vcpu)
    if (load(waits_for[vcpu]) == now + 1) send(ports[vcpu]);
}

void work(u64 vcpu) {
  __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
  while (load(started) != vcpus) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  for (u64 i = 0; i < rounds; ++i) {
    lock(static_cast<u32>(vcpu));
    if (__atomic_exchange_n(&inside, 1, __ATOMIC_SEQ_CST) != 0) ++met;
    ++counter;
    // Sometimes the holder loses its processor, and all wait for it.
    if (i % 4 == 0) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
    store(inside, 0);
    unlock();
  }
  __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

void other(u64 vcpu) {
  work(vcpu);
  for (;;) vcpu_op(VCPUOP_down, vcpu);
}

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  vcpus = number_behind("vcpus=", vcpus);
  rounds = number_behind("rounds=", rounds);
  spins = asked_for("spin");
  yields = asked_for("yield");
  CHECK(vcpus <= most);
  for (u32 vcpu = 0; vcpu < vcpus; ++vcpu) ports[vcpu] = bind_ipi(vcpu);
  // If a wake-up is lost, all vCPUs sleep. Then this ends the guest.
  sched_watchdog dog{0, 100};
  CHECK_EQ(hypercall(__HYPERVISOR_sched_op, SCHEDOP_watchdog, &dog), 1);
  for (u32 vcpu = 1; vcpu < vcpus; ++vcpu) {
    vcpu_guest_context_t& context = context_of(nullptr);
    context.user_regs.rip = word(other);
    context.user_regs.rdi = vcpu;
    context.user_regs.rsp = word(new_page() + 1) - 8;
    CHECK_EQ(vcpu_op(VCPUOP_initialise, vcpu, &context), 0);
    CHECK_EQ(vcpu_op(VCPUOP_stop_periodic_timer, vcpu), 0);
  }
  const u64 begin = now_ns();
  for (u32 vcpu = 1; vcpu < vcpus; ++vcpu) CHECK_EQ(vcpu_op(VCPUOP_up, vcpu), 0);
  work(0);
  while (load(finished) != vcpus) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  CHECK_EQ(met, 0);
  CHECK_EQ(counter, vcpus * rounds);
  say(static_cast<long>(counter), " times held, slept ", static_cast<long>(slept), " times, ",
      static_cast<long>((now_ns() - begin) / millisecond), " ms");
}
