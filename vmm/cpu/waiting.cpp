// What a vCPU's sleep and its timers need of the domain, and what its guest is told of time.
#include <cstdint>

#include <xen/xen.h>

#include "vmm/domain.hpp"
#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm {
namespace {

/// Xen tells a running vCPU the time anew once a second. What is told here is up to 0.27 s old
/// (vmm/clock.hpp).
constexpr std::uint64_t publish_interval = 700'000'000;

}  // namespace

bool GuestCpu::domain_ended() const { return domain_.ended(); }

bool GuestCpu::upcall_due() {
  const VcpuInfo info = domain_.info_of(id_);
  return info.upcall_pending() && !info.upcall_mask();
}

bool GuestCpu::port_pending(Port port) { return domain_.events()->is_pending(port); }

std::uint64_t GuestCpu::now() { return domain_.clock().now(); }
std::uint64_t GuestCpu::ticks() { return domain_.clock().guest_tsc(); }
void GuestCpu::rests() { domain_.flushes().vcpu_rests(); }

void GuestCpu::check_timers(pvmmu::DomainLock& lock) {
  notice_host_sleep(lock);
  const std::uint64_t time = now();
  if (time >= time_due_) publish_time(lock);
  if (timers_.check(time) && domain_.events() != nullptr) domain_.events()->raise_virq(id_, VIRQ_TIMER);
}

void GuestCpu::interrupt(bool by_timer) {
  if (by_timer) timers_.note_alarm();
  wakeup_.note_signal();
  vcpu_.set_immediate_exit(true);
}

void GuestCpu::set_up(bool up) {
  state_.up = up;
  kick();
}

void GuestCpu::send_nmi(pvmmu::Held) {
  state_.nmi.post();
  kick();
}

void GuestCpu::publish_time(pvmmu::Held held) {
  auto memory = kernel_memory(held);
  time_areas_.publish_time(memory, domain_.vcpu_info(id_), domain_.clock(),
                           domain_.config().host.tsc_invariant);
  const std::uint64_t time = now();
  time_due_ = time + publish_interval;
  timers_.set_refresh(time_due_, time);
}

void GuestCpu::publish_run_state(pvmmu::Held held) {
  auto memory = kernel_memory(held);
  time_areas_.publish_run_state(memory, run_state_, now(), domain_.assists().run_state_update_flag);
}

}  // namespace pinfold::vmm
