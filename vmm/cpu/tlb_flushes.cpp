#include "vmm/cpu/tlb_flushes.hpp"

#include <algorithm>

namespace pinfold::vmm {
namespace {

/// With so many retired mirrors their reuse is worth a flush of all vCPUs. A process that ends gives up some
/// ten, so this is once in several processes for each vCPU that may have to be interrupted. Every mirror that
/// is taken for the first time costs more than its part of that: the host finds and clears a page for it, and
/// KVM maps it.
constexpr std::size_t worth_a_flush(std::uint32_t vcpus) {
  return std::min<std::size_t>(pvmmu::StaleLog::enough, std::size_t{64} * vcpus);
}

}  // namespace

void TlbFlushes::flush(VcpuId by, VcpuId target) {
  if (parts_.trace != nullptr) trace(target.raw());
  request(by, target);
}

void TlbFlushes::flush_all(VcpuId by) {
  if (parts_.trace != nullptr) trace(pvmmu::every_vcpu);
  for (std::uint32_t i = 0; i < parts_.vcpus; ++i) request(by, VcpuId(i));
}

void TlbFlushes::request(VcpuId by, VcpuId target) {
  if (duties_.request(by, target)) parts_.kick(target);
}

void TlbFlushes::trace(std::uint64_t vcpu) {
  pvmmu::TraceEvent event;
  event.kind = pvmmu::TraceKind::flushed;
  event.argument = vcpu;
  parts_.trace->event(event);
}

void TlbFlushes::await(pvmmu::DomainLock& lock, VcpuId by) {
  while (duties_.awaits(by)) {
    if (parts_.end.happened()) return duties_.stop_waiting(by);
    left_guest_.wait(lock);
  }
}

void TlbFlushes::call_out_others(pvmmu::DomainLock& lock, VcpuId by) {
  for (std::uint32_t i = 0; i < parts_.vcpus; ++i)
    if (duties_.await_exit(by, VcpuId(i))) parts_.kick(VcpuId(i));
  await(lock, by);
}

/// The lock is free while `by` waits, and others may enter the guest then. The mark comes first: it keeps
/// them from entering on a mirror that was retired before it (GuestCpu::resume_in_gate).
bool TlbFlushes::reuse_retired_mirrors(pvmmu::DomainLock& lock, VcpuId by, pvmmu::Validator& mmu) {
  if (parts_.one_for_all || mmu.mirrors().retired() < worth_a_flush(parts_.vcpus)) return true;
  const std::uint64_t end = mmu.mirrors().retired_end();
  const std::uint64_t mark = duties_.mark();
  flush_all(by);
  await(lock, by);
  if (parts_.end.happened()) return true;
  if (!duties_.all_dropped_since(mark)) return false;
  mmu.retired_mirrors_forgotten(lock, end);
  return true;
}

}  // namespace pinfold::vmm
