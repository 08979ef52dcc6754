// After the host slept: the guest's clocks go on where they were (vmm/clock.hpp).
//
// A vCPU's thread that was in the guest comes out when its host goes to sleep, so it passes here before it is
// in the guest again, as does one whose vCPU slept. One that was stopped just before its entry gets there
// first: until it is called out below its guest sees the TSC, and a time made of it, as the host woke up
// with.
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
