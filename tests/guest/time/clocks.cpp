// Timers by VCPUOP_set_singleshot_timer and set_timer_op, in the past, soon and far off; time areas; run
// states, whose times add up to the total. Each of two vCPUs has its own. The count of exits shows that no
// timer makes its vCPU spin: see CMakeLists.txt.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr long einval = -22;
constexpr u64 century = 100UL * 365 * 86400 * second_ns;
u32 timer = 0, other_timer = 0;
u64 fired_on_second = 0;

/// Waits for the timer's event; false if it did not arrive until `limit`.
bool fires_by(u64 limit) {
  poll(&timer, 1, limit);
  const bool came = two_level::is_pending(timer);
  two_level::clear_pending(timer);
  return came;
}

void single_shot() {
  for (u64 past : {1UL, now_ns() - millisecond, now_ns()}) {
    CHECK_EQ(set_timer(0, past), 0);
    CHECK(fires_by(now_ns() + 20 * second_ns));
  }
  const u64 deadline = now_ns() + 5 * millisecond;
  CHECK_EQ(set_timer(0, deadline), 0);
  CHECK(fires_by(now_ns() + 20 * second_ns));
  CHECK(now_ns() >= deadline);
  // In a century, and at times that no clock reaches: no event.
  for (u64 far : {now_ns() + century, 1UL << 63, ~0UL}) {
    CHECK_EQ(set_timer(0, far), 0);
    CHECK(!fires_by(now_ns() + 5 * millisecond));
  }
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_stop_singleshot_timer, 0, nullptr), 0);
  CHECK_EQ(set_timer(1, now_ns()), einval);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_stop_singleshot_timer, 1, nullptr), einval);
}

void timer_op() {
  CHECK_EQ(hypercall(__HYPERVISOR_set_timer_op, now_ns() + 2 * millisecond), 0);
  CHECK(fires_by(now_ns() + 20 * second_ns));
  CHECK_EQ(hypercall(__HYPERVISOR_set_timer_op, now_ns() + 10 * millisecond), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_set_timer_op, 0), 0);
  CHECK(!fires_by(now_ns() + 20 * millisecond));
  // A time that makes no sense fires after 100 ms, so that a confused guest goes on.
  const u64 begin = now_ns();
  CHECK_EQ(hypercall(__HYPERVISOR_set_timer_op, ~0UL), 0);
  CHECK(fires_by(now_ns() + 20 * second_ns));
  CHECK(now_ns() - begin >= 100 * millisecond);
}

/// The copy of VCPUOP_register_vcpu_time_memory_area has the same contents as the one in vcpu_info.
void time_area() {
  static vcpu_time_info_t copy;
  u64 address = word(&copy);
  CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &address), 0);
  const vcpu_time_info_t& first = info_of(0).time;
  CHECK_EQ(copy.version & 1, 0);
  CHECK_EQ(copy.tsc_timestamp, first.tsc_timestamp);
  CHECK_EQ(copy.tsc_to_system_mul, first.tsc_to_system_mul);
  CHECK_EQ(copy.tsc_shift, first.tsc_shift);
  CHECK_EQ(copy.flags, first.flags);
  CHECK_EQ(info_of(1).time.tsc_to_system_mul, first.tsc_to_system_mul);
}

vcpu_time_info_t read_time(const volatile vcpu_time_info_t& from) {
  vcpu_time_info_t time;
  do {
    time.version = __atomic_load_n(&from.version, __ATOMIC_ACQUIRE);
    time.tsc_timestamp = from.tsc_timestamp;
    time.system_time = from.system_time;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
  } while (time.version % 2 != 0 || __atomic_load_n(&from.version, __ATOMIC_ACQUIRE) != time.version);
  return time;
}

u64 tsc() {
  u32 low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return u64{high} << 32 | low;
}

/// A vCPU that neither sleeps nor asks for anything is told the time anew, at least once a second; from each
/// stamp the same times follow.
void refreshed() {
  static vcpu_time_info_t copy;
  u64 address = word(&copy);
  CHECK_EQ(vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &address), 0);
  const auto& scale = info_of(0).time;
  const auto ns = [&](u64 ticks) {
    const u64 shifted = scale.tsc_shift >= 0 ? ticks << scale.tsc_shift : ticks >> -scale.tsc_shift;
    return static_cast<u64>(static_cast<unsigned __int128>(shifted) * scale.tsc_to_system_mul >> 32);
  };
  const vcpu_time_info_t first = read_time(info_of(0).time);
  vcpu_time_info_t last = first;
  long stamps = 0;
  for (u64 now = 0; now < first.system_time + 3 * second_ns;) {
    now = first.system_time + ns(tsc() - first.tsc_timestamp);
    const vcpu_time_info_t time = read_time(info_of(0).time);
    if (time.version == last.version) {
      // The vCPU's thread may have to wait for a processor of the host's.
      CHECK(now - time.system_time < 10 * second_ns);
      continue;
    }
    ++stamps;
    CHECK(time.system_time > last.system_time);
    CHECK_EQ(first.system_time + ns(time.tsc_timestamp - first.tsc_timestamp), time.system_time);
    const vcpu_time_info_t other = read_time(copy);
    CHECK(other.tsc_timestamp >= time.tsc_timestamp);
    last = time;
  }
  CHECK(stamps >= 2);
}

u64 total(const vcpu_runstate_info_t& state) {
  u64 sum = 0;
  for (u64 part : state.time) sum += part;
  return sum;
}

void run_states() {
  static vcpu_runstate_info_t mine;
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag), 0);
  u64 address = word(&mine);
  CHECK_EQ(vcpu_op(VCPUOP_register_runstate_memory_area, 0, &address), 0);
  CHECK_EQ(mine.state, RUNSTATE_running);
  CHECK_EQ(mine.state_entry_time & XEN_RUNSTATE_UPDATE, 0);
  const u64 blocked = mine.time[RUNSTATE_blocked];
  poll(nullptr, 0, now_ns() + 10 * millisecond);
  CHECK(mine.time[RUNSTATE_blocked] >= blocked + 9 * millisecond);
  CHECK_EQ(mine.state_entry_time & XEN_RUNSTATE_UPDATE, 0);
  // The times of all states add up to the total.
  vcpu_runstate_info_t before, after;
  CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, 0, &before), 0);
  const u64 begin = now_ns();
  poll(nullptr, 0, now_ns() + 5 * millisecond);
  const u64 end = now_ns();
  CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, 0, &after), 0);
  CHECK(total(after) - total(before) >= end - begin);
  // The run state of a sleeping vCPU says so to the other vCPU.
  vcpu_runstate_info_t others;
  CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, 1, &others), 0);
  CHECK_EQ(others.state, RUNSTATE_blocked);
  CHECK_EQ(vcpu_op(VCPUOP_get_runstate_info, 2, &others), -2);
}

/// Each vCPU has its own timer: the other vCPU's fires, and only there.
void second() {
  set_timer(1, now_ns() + millisecond);
  poll(&other_timer, 1, now_ns() + 20 * second_ns);
  __atomic_store_n(&fired_on_second, now_ns(), __ATOMIC_SEQ_CST);
  for (;;) poll(nullptr, 0, 0);
}

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  timer = bind_virq(VIRQ_TIMER, 0);
  other_timer = bind_virq(VIRQ_TIMER, 1);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  const u64 limit = now_ns() + 20 * second_ns;
  while (__atomic_load_n(&fired_on_second, __ATOMIC_SEQ_CST) == 0 && now_ns() < limit)
    poll(nullptr, 0, now_ns() + millisecond);
  CHECK(two_level::is_pending(other_timer));
  CHECK(!two_level::is_pending(timer));
  poll(nullptr, 0, now_ns() + 5 * millisecond);
  single_shot();
  timer_op();
  time_area();
  refreshed();
  run_states();
}
