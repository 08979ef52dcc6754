// A vCPU's sleep.
#include <chrono>
#include <thread>
#include <utility>

#include "vmm/domain.hpp"
#include "vmm/vcpu_info.hpp"

#include <cstdint>

#include <xen/vcpu.h>
#include <xen/xen.h>

namespace pinfold::vmm {
namespace {

/// Who sleeps longer wakes in between, looks, and sleeps on.
constexpr std::uint64_t longest_sleep_ns = 3'600'000'000'000;

}  // namespace

bool GuestCpu::event_deliverable() const {
  if (state_.event.address == 0) return false;
  const VcpuInfo info = domain_.info_of(id_);
  return info.upcall_pending() && !info.upcall_mask();
}

void GuestCpu::set_upcall_mask(bool masked) { domain_.info_of(id_).set_upcall_mask(masked); }

void GuestCpu::kick() {
  {
    const std::lock_guard sleep(sleep_mutex_);
    kicked_ = true;
    // Under the mutex, without which the thread does not end.
    if (takes_signals_) {
      ++domain_.statistics().signals;
      pthread_kill(thread_, SIGUSR1);
    }
  }
  woken_.notify_one();
}

void GuestCpu::interrupt(bool by_timer) {
  if (by_timer) host_timer_fired_ = true;
  kicked_ = true;
  vcpu_.set_immediate_exit(true);
}

void GuestCpu::request_poll(std::vector<Port> ports, std::uint64_t until_ns) {
  poll_.begin(std::move(ports), until_ns);
}

bool GuestCpu::polled_port_pending() {
  for (const Port port : poll_.ports())
    if (domain_.events()->is_pending(port)) return true;
  return false;
}

/// VCPUOP_up and VCPUOP_down. Who changed another vCPU's state kicks it.
void GuestCpu::set_up(bool up) {
  state_.up = up;
  kick();
}

void GuestCpu::sleep_while_down(pvmmu::DomainLock& lock) {
  if (state_.up) return;
  run_state_.enter(RunState::offline, domain_.clock().now());
  pause_tick(true);
  for (std::uint64_t times = 0; !state_.up; ++times) {
    if (times != 0) ++domain_.statistics().sleeps_again;
    kicked_ = false;
    if (domain_.ended()) break;
    sleep(lock, 0);
    check_timers(lock);  // of a vCPU that is down, too
  }
  pause_tick(false);
  run_state_.enter(RunState::running, domain_.clock().now());
}

/// SCHEDOP_yield.
void GuestCpu::yield_if_asked(pvmmu::DomainLock& lock) {
  if (!std::exchange(yield_requested_, false)) return;
  lock.unlock();
  std::this_thread::yield();
  lock.lock();
}

/// SCHEDOP_block and SCHEDOP_poll: after the hypercall has returned, before the guest goes on.
void GuestCpu::sleep_if_asked(pvmmu::DomainLock& lock) {
  if (!block_requested_ && !poll_.is_active()) return;
  const std::uint64_t until = poll_.is_active() ? poll_.until_ns() : 0;
  const auto awake = [&] {
    if (domain_.ended()) return true;
    const VcpuInfo info = domain_.info_of(id_);
    if (info.upcall_pending() && !info.upcall_mask()) return true;
    return poll_.is_active() && (polled_port_pending() || (until != 0 && domain_.clock().now() >= until));
  };
  if (!awake()) {
    ++domain_.statistics().sleeps;
    run_state_.enter(RunState::blocked, domain_.clock().now());
    publish_run_state(lock);
    pause_tick(true);
    for (std::uint64_t times = 0; !awake(); ++times) {
      if (times != 0) ++domain_.statistics().sleeps_again;
      kicked_ = false;
      if (awake()) break;
      sleep(lock, until);
      check_timers(lock);
    }
    pause_tick(false);
    run_state_.enter(RunState::running, domain_.clock().now());
    publish_run_state(lock);
  }
  block_requested_ = false;
  poll_.end();
}

void GuestCpu::sleep(pvmmu::DomainLock& lock, std::uint64_t until_ns) {
  std::uint64_t deadline = next_deadline();
  if (until_ns != 0 && (deadline == 0 || until_ns < deadline)) deadline = until_ns;
  sleep_until_kicked(lock, deadline);
}

void GuestCpu::sleep_until_kicked(pvmmu::DomainLock& lock, std::uint64_t deadline) {
  const std::uint64_t before = domain_.clock().guest_tsc();
  const std::uint64_t now = domain_.clock().now();
  rest(true);
  lock.unlock();
  {
    std::unique_lock sleeping(sleep_mutex_);
    const auto kicked = [this] { return kicked_.load(); };
    if (deadline == 0) {
      woken_.wait(sleeping, kicked);
    } else {
      // A deadline may be any number of 64 bits; the host's clock has fewer.
      const auto delay =
          std::chrono::nanoseconds(deadline > now ? std::min(deadline - now, longest_sleep_ns) : 0);
      woken_.wait_for(sleeping, delay, kicked);
    }
  }
  lock.lock();
  rest(false);
  const std::uint64_t slept = domain_.clock().guest_tsc() - before;
  domain_.statistics().blocked_ticks += slept;
  domain_.statistics().monitor_ticks -= slept;
}

void GuestCpu::publish_run_state(pvmmu::Held held) {
  if (run_state_area_.raw() == 0) return;
  const std::uint64_t now = domain_.clock().now();
  vcpu_runstate_info_t info{};
  info.state = static_cast<int>(run_state_.state());
  info.state_entry_time = run_state_.since();
  for (std::size_t i = 0; i < 4; ++i) info.time[i] = run_state_.spent(static_cast<RunState>(i), now);
  auto memory = kernel_memory(held);
  if (!domain_.run_state_update_flag) {
    (void)memory.store(run_state_area_, info);
    return;
  }
  // Bit 63 of the entry time says that the rest is being written (XEN_RUNSTATE_UPDATE): it is set before
  // anything else changes, and goes last; processors of this kind store in the order of the program.
  const GuestVaddr entry_time = run_state_area_.plus(offsetof(vcpu_runstate_info_t, state_entry_time));
  const std::uint64_t entered = info.state_entry_time;
  info.state_entry_time |= XEN_RUNSTATE_UPDATE;
  (void)memory.store(entry_time, info.state_entry_time);
  std::atomic_signal_fence(std::memory_order_release);
  (void)memory.store(run_state_area_, info);
  std::atomic_signal_fence(std::memory_order_release);
  (void)memory.store(entry_time, entered);
}

}  // namespace pinfold::vmm
