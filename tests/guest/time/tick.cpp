// The periodic tick: from its start each vCPU has one of 100 Hz, which it can change. It arrives while the
// vCPU runs. It does not wake a sleeping vCPU, which gets one tick when it runs again. A vCPU that is down
// does not spin when its timer is due: see CMakeLists.txt.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 default_period = 10 * millisecond;
u32 timers[2];  ///< The port of each vCPU's timer.
u64 first_ticks = 0, shortest = ~0UL;
u64 asleep_for = 0;
bool tick_after_sleep = false, done = false;

/// Runs until the timer's event has arrived; false if it did not until `limit`.
bool ticks_by(u32 vcpu, u64 limit) {
  while (!two_level::is_pending(timers[vcpu]))
    if (now_ns() > limit) return false;
  two_level::clear_pending(timers[vcpu]);
  return true;
}

long set_period(u32 vcpu, u64 period) {
  vcpu_set_periodic_timer args{period};
  return vcpu_op(VCPUOP_set_periodic_timer, vcpu, &args);
}

/// A vCPU that has set no timer. Its first event, at its start, says nothing about the period. The others are
/// at least a period apart, because missed ticks are not made up.
void second() {
  ticks_by(1, now_ns() + 20 * second_ns);
  u64 last = now_ns();
  while (first_ticks < 5 && ticks_by(1, now_ns() + 20 * second_ns)) ++first_ticks;
  shortest = now_ns() - last;

  // On a busy host a tick may come before the sleep begins; then another one is tried.
  for (int attempt = 0; attempt < 20 && asleep_for < 10 * default_period; ++attempt) {
    two_level::clear_pending(timers[1]);
    last = now_ns();
    poll(&timers[1], 1, last + 10 * default_period);
    asleep_for = now_ns() - last;
  }
  tick_after_sleep = ticks_by(1, now_ns() + 20 * second_ns);

  // A timer is due while the vCPU is down: its event becomes pending, and the vCPU stays down.
  vcpu_op(VCPUOP_stop_periodic_timer, 1);
  two_level::clear_pending(timers[1]);
  set_timer(1, now_ns() + 20 * millisecond);
  __atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
  for (;;) vcpu_op(VCPUOP_down, 1);
}

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  for (u32 vcpu = 0; vcpu < 2; ++vcpu) timers[vcpu] = bind_virq(VIRQ_TIMER, vcpu);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  u64 limit = now_ns() + 60 * second_ns;
  while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST) && now_ns() < limit)
    poll(nullptr, 0, now_ns() + millisecond);
  CHECK(done);
  CHECK_EQ(first_ticks, 5);
  CHECK(shortest >= 4 * default_period);  // the first may have been due before the wait began
  CHECK(asleep_for >= 10 * default_period);
  CHECK(tick_after_sleep);
  limit = now_ns() + 20 * second_ns;
  while (!two_level::is_pending(timers[1]) && now_ns() < limit) poll(nullptr, 0, now_ns() + millisecond);
  CHECK(two_level::is_pending(timers[1]));
  poll(nullptr, 0, now_ns() + 200 * millisecond);
  CHECK_EQ(vcpu_op(VCPUOP_is_up, 1), 0);

  // This vCPU's tick was stopped when the guest started. The period counts from the last tick, long ago.
  CHECK(!ticks_by(0, now_ns() + 5 * default_period));
  CHECK_EQ(set_period(0, 999'999), -22);
  CHECK_EQ(set_period(0, 50 * millisecond), 0);
  CHECK(ticks_by(0, now_ns() + 20 * second_ns));
  const u64 begin = now_ns();
  for (int i = 0; i < 3; ++i) CHECK(ticks_by(0, now_ns() + 20 * second_ns));
  CHECK(now_ns() - begin >= 100 * millisecond);
  // A timer wakes the vCPU, with any tick.
  const u64 deadline = now_ns() + 20 * millisecond;
  CHECK_EQ(set_timer(0, deadline), 0);
  poll(&timers[0], 1, now_ns() + 20 * second_ns);
  CHECK(two_level::is_pending(timers[0]));
  CHECK_EQ(vcpu_op(VCPUOP_stop_periodic_timer, 0), 0);
  two_level::clear_pending(timers[0]);
  CHECK(!ticks_by(0, now_ns() + 150 * millisecond));
}
