// The domain and all its threads end whatever the other vCPUs do at that moment: they are down, sleep, poll,
// run their own code, make hypercalls, or wait for a flush. Run it with 7 vCPUs. With `watchdog` vCPU 0
// sleeps, too, and the watchdog ends the domain; with `kill` it has to be ended from outside.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u32 others = 6;
u64 started = 0;
u32 quiet_port = 0;

void begin() { __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST); }
void goes_down() {
  begin();
  for (;;) vcpu_op(VCPUOP_down, 1);
}
void sleeps() {
  begin();
  for (;;) hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, nullptr);
}
void polls() {
  begin();
  for (;;) poll(&quiet_port, 1, 0);
}
void runs() {
  begin();
  for (;;) {
  }
}
void calls() {
  begin();
  for (;;) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
}
void flushes() {
  begin();
  for (;;) extended(MMUEXT_TLB_FLUSH_ALL, 0);
}

long watchdog(u32 id, u32 seconds) {
  sched_watchdog args{id, seconds};
  return hypercall(__HYPERVISOR_sched_op, SCHEDOP_watchdog, &args);
}

void watchdog_arguments() {
  constexpr long einval = -22, enospc = -28;
  CHECK_EQ(watchdog(0, 0), einval);
  CHECK_EQ(watchdog(1, 10), einval);
  CHECK_EQ(watchdog(0, 1000), 1);
  CHECK_EQ(watchdog(0, ~0U), 2);
  CHECK_EQ(watchdog(0, 1000), enospc);
  CHECK_EQ(watchdog(3, 1000), einval);
  CHECK_EQ(watchdog(~0U, 0), einval);
  CHECK_EQ(watchdog(2, 5), 0);
  CHECK_EQ(watchdog(2, 0), 0);
  CHECK_EQ(watchdog(2, 0), einval);
  CHECK_EQ(watchdog(1, 0), 0);
}

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  quiet_port = bind_ipi(0);
  watchdog_arguments();
  void (*const states[others])() = {goes_down, sleeps, polls, runs, calls, flushes};
  for (u32 i = 0; i < others; ++i) {
    vcpu_guest_context_t& context = context_of(states[i]);
    Page* stack = new_page();
    context.user_regs.rsp = word(stack + 1) - 8;
    CHECK_EQ(vcpu_op(VCPUOP_initialise, i + 1, &context), 0);
    CHECK_EQ(vcpu_op(VCPUOP_up, i + 1), 0);
  }
  while (__atomic_load_n(&started, __ATOMIC_SEQ_CST) != others)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  if (!asked_for("watchdog") && !asked_for("kill")) return;
  if (asked_for("watchdog")) CHECK_EQ(watchdog(0, 1), 1);
  say("all ", static_cast<long>(others), " are in their states");
  for (;;) hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, nullptr);
}
