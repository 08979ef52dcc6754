// Dropping translations on other vCPUs. The vCPU that asks goes on when each of the others has left the
// guest; on its way back there each drops its own.
#include "vmm/domain.hpp"

namespace pinfold::vmm {

void GuestCpu::flush(GuestCpu& target) {
  if (watched_) tell_flushed(target.id_.raw());
  flush_one(target);
}

void GuestCpu::flush_one(GuestCpu& target) {
  // What goes stale in KVM's shadow is refreshed by one vCPU for all: KVM itself tells the others.
  if (&target == this || domain_.config().host.stale_entries) {
    flush_requested_ = true;
    return;
  }
  target.flush_requested_ = true;
  if (!target.in_guest_) return;
  awaited_.push_back({&target, target.entries_});
  target.kick();
}

void GuestCpu::flush_all() {
  if (watched_) tell_flushed(pvmmu::every_vcpu);
  for (std::uint32_t i = 0; i < domain_.vcpu_count(); ++i) flush_one(domain_.cpu(VcpuId(i)));
}

/// A vCPU that waits here is not in the guest: two that wait for each other both go on.
void GuestCpu::await_flushes(pvmmu::DomainLock& lock) {
  for (const Awaited& awaited : awaited_)
    while (!domain_.ended() && awaited.cpu->in_guest_ && awaited.cpu->entries_ == awaited.entry)
      domain_.wait_for_exits(lock);
  awaited_.clear();
}

/// Mirrors that were given up wait for a flush of all vCPUs: a guest that never asks for one must not use
/// them all up. Where KVM keeps a shadow, the stale log sees to it.
void GuestCpu::forget_retired_mirrors(pvmmu::DomainLock& lock) {
  pvmmu::Validator& mmu = domain_.mmu();
  if (domain_.config().host.stale_entries || mmu.mirrors().retired() < pvmmu::StaleLog::enough) return;
  const std::uint64_t end = mmu.mirrors().retired_end();
  flush_all();
  await_flushes(lock);
  for (std::uint32_t i = 0; i < domain_.vcpu_count(); ++i) domain_.cpu(VcpuId(i)).mirror_may_be_gone_ = true;
  mmu.retired_mirrors_forgotten(lock, end);
}

}  // namespace pinfold::vmm
