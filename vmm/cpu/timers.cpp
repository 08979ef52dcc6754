// A vCPU's timers, and what its guest is told of time.
#include <algorithm>

#include "vmm/domain.hpp"
#include "vmm/vcpu_info.hpp"

#include <cstdint>

#include <xen/xen.h>

namespace pinfold::vmm {

void GuestCpu::create_host_timer() {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR1;
  event._sigev_un._tid = static_cast<pid_t>(gettid());
  has_host_timer_ = timer_create(CLOCK_MONOTONIC, &event, &host_timer_) == 0;
  if (!has_host_timer_) domain_.end(Ending::host_failure, "the host gives no timer to the vCPU");
  arm_host_timer();
}

void GuestCpu::delete_host_timer() {
  if (has_host_timer_) timer_delete(host_timer_);
  has_host_timer_ = false;
}

std::uint64_t GuestCpu::next_deadline() const {
  if (period_ns_ == 0 || tick_paused_) return timer_deadline_;
  const std::uint64_t tick = last_tick_ + period_ns_;
  return timer_deadline_ == 0 ? tick : std::min(timer_deadline_, tick);
}

/// Sets the host's timer, which interrupts the guest, to the next deadline.
void GuestCpu::arm_host_timer() {
  if (!has_host_timer_) return;
  itimerspec spec{};
  if (const std::uint64_t deadline = next_deadline(); deadline != 0) {
    const std::uint64_t now = domain_.clock().now();
    const std::uint64_t delta = deadline > now ? deadline - now : 1;
    spec.it_value.tv_sec = static_cast<time_t>(delta / 1'000'000'000);
    spec.it_value.tv_nsec = static_cast<long>(delta % 1'000'000'000);
  }
  timer_settime(host_timer_, 0, &spec, nullptr);
}

void GuestCpu::set_timer(std::uint64_t deadline_ns) {
  timer_deadline_ = deadline_ns;
  arm_host_timer();
}

void GuestCpu::set_periodic_timer(std::uint64_t period_ns) {
  period_ns_ = period_ns;
  arm_host_timer();
}

void GuestCpu::pause_tick(bool pause) {
  tick_paused_ = pause;
  if (period_ns_ == 0) return;
  if (!pause && domain_.clock().now() >= last_tick_ + period_ns_) kicked_ = true;  // it is looked at again
  arm_host_timer();
}

void GuestCpu::check_timers(pvmmu::DomainLock& lock) {
  notice_host_sleep(lock);
  const std::uint64_t deadline = next_deadline();
  if (deadline == 0) return;
  const std::uint64_t now = domain_.clock().now();
  if (now < deadline) {
    // The host's clock may run a little faster than the TSC: its timer came early, and is needed again.
    if (host_timer_fired_.exchange(false)) arm_host_timer();
    return;
  }
  if (timer_deadline_ != 0 && now >= timer_deadline_) timer_deadline_ = 0;
  // Ticks that were missed are not made up.
  if (period_ns_ != 0 && !tick_paused_ && now >= last_tick_ + period_ns_) last_tick_ = now;
  arm_host_timer();
  if (domain_.events() != nullptr) domain_.events()->raise_virq(id_, VIRQ_TIMER);
}

/// Writes the vCPU's time information: how to get system time from the TSC (vcpu_time_info, xen/xen.h).
void GuestCpu::publish_time(pvmmu::Held held) {
  const Clock& clock = domain_.clock();
  vcpu_time_info_t time{};
  time.tsc_timestamp = clock.base_tsc();
  time.system_time = clock.base_time();
  time.tsc_to_system_mul = clock.scale().mul;
  time.tsc_shift = clock.scale().shift;
  time.flags = domain_.config().host.tsc_invariant ? XEN_PVCLOCK_TSC_STABLE_BIT : 0;
  const VcpuInfoPlace place = domain_.vcpu_info(id_);
  SharedPage page = place.page;
  const auto bytes = std::as_bytes(std::span(&time, 1));
  const auto version = page.load<std::uint32_t>(place.offset + VcpuInfo::time_offset);
  page.store<std::uint32_t>(place.offset + VcpuInfo::time_offset, version | 1);
  page.copy_in(place.offset + VcpuInfo::time_offset + 4, bytes.subspan(4));
  time.version = (version | 1) + 1;
  page.store<std::uint32_t>(place.offset + VcpuInfo::time_offset, time.version);
  // The values change only while no vCPU is in the guest (host_sleep.cpp): nobody reads half of the copy.
  if (time_area_.raw() != 0) (void)kernel_memory(held).store(time_area_, time);
}

}  // namespace pinfold::vmm
