// After the host slept, the guest's clocks go on from where they were (vmm/clock.hpp).
//
// When its host goes to sleep, a vCPU's thread leaves the guest. So it comes here before it enters the guest
// again, as does a thread whose vCPU slept. A thread that was stopped just before its entry enters the guest
// first: until it is called out below, its guest sees the TSC that the host woke up with, and a time computed
// from it.
#include "vmm/domain.hpp"

namespace pinfold::vmm {

void GuestCpu::notice_host_sleep(pvmmu::DomainLock& lock) {
  if (!domain_.clock().host_slept()) return;
  domain_.flushes().call_out_others(lock, id_);
  if (!domain_.clock().host_slept()) return;  // another one was here meanwhile
  domain_.host_woke(lock, vcpu_.tsc_offset().value_or(0));
}

void Domain::host_woke(pvmmu::Held held, std::uint64_t tsc_offset) {
  clock_->resume(tsc_offset);
  shared_info_.publish_wall_clock(*clock_);
  for (const auto& cpu : cpus_) {
    if (!cpu->state().initialised) continue;
    cpu->publish_time(held);
    cpu->kick();  // whatever was computed from the time before
  }
}

}  // namespace pinfold::vmm
