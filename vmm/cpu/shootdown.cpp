// Dropping translations on other vCPUs. The vCPU that asks goes on when each of the others has left the
// guest; on its way back there each drops its own.
#include <fmt/format.h>

#include "vmm/domain.hpp"

namespace pinfold::vmm {

void GuestCpu::flush(GuestCpu& target) {
  if (watched_) tell_flushed(target.id_.raw());
  flush_one(target);
}

void GuestCpu::flush_one(GuestCpu& target) {
  if (domain_.flushes().request(id_, target.id_)) target.kick();
}

void GuestCpu::flush_all() {
  if (watched_) tell_flushed(pvmmu::every_vcpu);
  for (std::uint32_t i = 0; i < domain_.vcpu_count(); ++i) flush_one(domain_.cpu(VcpuId(i)));
}

/// A vCPU that waits here is not in the guest: two that wait for each other both go on.
void GuestCpu::await_flushes(pvmmu::DomainLock& lock) {
  while (domain_.flushes().awaits(id_)) {
    if (domain_.ended()) return domain_.flushes().stop_waiting(id_);
    domain_.wait_for_exits(lock);
  }
}

/// The last look before an entry. False: the domain is over. Only a pass that has others behind it leaves
/// again before guest code runs, and a flush may still be due then.
bool GuestCpu::may_enter(pvmmu::Held held) {
  if (domain_.ended()) return false;
  if (more_passes_) return true;
  const char* objection = domain_.flushes().objection_to_entry(id_);
  if (objection == nullptr) return true;
  domain_.end(Ending::isolation_fault,
              fmt::format("the monitor was about to run guest code {}\n{}", objection, describe(held)));
  return false;
}

/// Mirrors that were given up wait for a flush of all vCPUs: a guest that never asks for one must not use
/// them all up. Memory of those that were forgotten goes back to the host. Where KVM keeps a shadow, the
/// stale log sees to it.
/// The lock is free while this vCPU waits, and others may enter the guest then: the mark comes first, since
/// it keeps them from entering on a mirror that was retired before it (resume_in_gate).
void GuestCpu::forget_retired_mirrors(pvmmu::DomainLock& lock) {
  domain_.arena().trim();
  pvmmu::Validator& mmu = domain_.mmu();
  if (domain_.config().host.stale_entries || mmu.mirrors().retired() < pvmmu::StaleLog::enough) return;
  const std::uint64_t end = mmu.mirrors().retired_end();
  const std::uint64_t mark = domain_.flushes().mark();
  flush_all();
  await_flushes(lock);
  if (domain_.ended()) return;
  if (!domain_.flushes().all_dropped_since(mark)) {
    domain_.end(Ending::isolation_fault,
                "the monitor was about to reuse page tables that processors may walk");
    return;
  }
  mmu.retired_mirrors_forgotten(lock, end);
}

}  // namespace pinfold::vmm
