#include "vmm/cpu/sleep.hpp"

#include <algorithm>
#include <thread>
#include <utility>

namespace pinfold::vmm {

void VcpuSleep::pause_tick() { parts_.timers.pause_tick(parts_.surroundings.now()); }

void VcpuSleep::resume_tick() {
  if (parts_.timers.resume_tick(parts_.surroundings.now())) parts_.wakeup.look_again();
}

void VcpuSleep::sleep_while_down(pvmmu::DomainLock& lock) {
  SleepSurroundings& around = parts_.surroundings;
  if (around.is_up()) {
    // It may have come up before its thread looked here for the first time.
    if (parts_.run_state.state() == RunState::offline)
      parts_.run_state.enter(RunState::running, around.now());
    return;
  }
  parts_.run_state.enter(RunState::offline, around.now());
  around.publish_run_state(lock);
  pause_tick();
  for (std::uint64_t times = 0; !around.is_up(); ++times) {
    if (times != 0) ++parts_.statistics.sleeps_again;
    parts_.wakeup.clear();
    if (around.domain_ended()) break;
    sleep(lock, 0);
    around.check_timers(lock);  // they go on while the vCPU is down
  }
  resume_tick();
  parts_.run_state.enter(RunState::running, around.now());
  around.publish_run_state(lock);
}

void VcpuSleep::yield_if_asked(pvmmu::DomainLock& lock) {
  if (!std::exchange(yield_requested_, false)) return;
  lock.unlock();
  std::this_thread::yield();
  lock.lock();
}

/// Has what a blocked or polling vCPU waits for come?
bool VcpuSleep::may_go_on() {
  SleepSurroundings& around = parts_.surroundings;
  if (around.domain_ended() || around.upcall_due() || around.nmi_due()) return true;
  if (!poll_.is_active()) return false;
  const bool pending =
      std::ranges::any_of(poll_.ports(), [&](Port port) { return around.port_pending(port); });
  return pending || (poll_.until_ns() != 0 && around.now() >= poll_.until_ns());
}

void VcpuSleep::sleep_if_asked(pvmmu::DomainLock& lock) {
  if (!block_requested_ && !poll_.is_active()) return;
  SleepSurroundings& around = parts_.surroundings;
  if (!may_go_on()) {
    const std::uint64_t until = poll_.is_active() ? poll_.until_ns() : 0;
    ++parts_.statistics.sleeps;
    parts_.run_state.enter(RunState::blocked, around.now());
    around.publish_run_state(lock);
    pause_tick();
    for (std::uint64_t times = 0; !may_go_on(); ++times) {
      if (times != 0) ++parts_.statistics.sleeps_again;
      parts_.wakeup.clear();
      if (may_go_on()) break;
      sleep(lock, until);
      around.check_timers(lock);
    }
    resume_tick();
    parts_.run_state.enter(RunState::running, around.now());
    around.publish_run_state(lock);
  }
  block_requested_ = false;
  poll_.end();
}

bool VcpuSleep::rest_while_stopped(pvmmu::DomainLock& lock) {
  SleepSurroundings& around = parts_.surroundings;
  if (!parts_.stops.is_stopped() || around.domain_ended()) return false;
  const RunState before = parts_.run_state.state();
  parts_.run_state.enter(RunState::offline, around.now());
  while (parts_.stops.is_stopped()) {
    parts_.wakeup.clear();
    if (around.domain_ended()) break;
    sleep_until_kicked(lock, 0);
  }
  parts_.run_state.enter(before, around.now());
  return true;
}

void VcpuSleep::sleep(pvmmu::DomainLock& lock, std::uint64_t until_ns) {
  std::uint64_t deadline = parts_.timers.next_deadline();
  if (until_ns != 0 && (deadline == 0 || until_ns < deadline)) deadline = until_ns;
  sleep_until_kicked(lock, deadline);
}

void VcpuSleep::sleep_until_kicked(pvmmu::DomainLock& lock, std::uint64_t deadline) {
  SleepSurroundings& around = parts_.surroundings;
  const std::uint64_t before = around.ticks();
  const std::uint64_t now = around.now();
  parts_.stops.set_at_rest(lock, true);
  around.rests();
  lock.unlock();
  if (deadline == 0)
    parts_.wakeup.sleep(std::nullopt);
  else
    parts_.wakeup.sleep(deadline > now ? deadline - now : 0);
  lock.lock();
  parts_.stops.set_at_rest(lock, false);
  const std::uint64_t slept = around.ticks() - before;
  parts_.statistics.blocked_ticks += slept;
  parts_.statistics.monitor_ticks -= slept;
}

}  // namespace pinfold::vmm
