#include "vmm/memory/granted_frames.hpp"

#include <spdlog/spdlog.h>

namespace pinfold::vmm {
namespace {

using pvmmu::Pte;

/// As Xen makes it: for data only, and marked as used, since the guest did not ask for less.
Pte entry_of(const GrantedEntry& granted) {
  namespace bit = pvmmu::bit;
  std::uint64_t flags = bit::present | bit::accessed | bit::dirty | bit::no_execute;
  if (granted.writable) flags |= bit::writable;
  if (granted.for_user) flags |= bit::user;
  return Pte(granted.frame, flags | (std::uint64_t{granted.available} << 9 & bit::available));
}

GrantName name_of(const GrantedEntry& granted) { return {granted.owner, granted.ref}; }

Status status_of(const pvmmu::Verdict<>& verdict) {
  if (verdict) return {};
  SPDLOG_DEBUG("refused: {}", verdict.error().describe());
  return fail(verdict.error().error());
}

}  // namespace

tl::expected<SharedPage, Errno> GrantedFrames::hold_granted(pvmmu::Held held, Mfn frame, FrameUse use) {
  auto page = parts_.holds.hold(held, frame, FrameHolds::For::monitor, use);
  if (!page) return fail(error_of_hold(page.error()));
  return std::move(*page);
}

std::optional<MachineAddr> GrantedFrames::find(pvmmu::Held held, const GrantPlace& where) const {
  if (where.is_machine_address) return MachineAddr(where.address);
  const auto leaf = parts_.mmu.walk(held, parts_.kernel_root(where.vcpu), GuestVaddr(where.address));
  if (!leaf) return std::nullopt;
  return entry_address(leaf->table, leaf->slot);
}

/// What the validator can't say, since it has not been asked.
Status GrantedFrames::no_entry(pvmmu::Held held, pvmmu::GrantPurpose purpose, const GrantedEntry& entry) {
  tell(held, {purpose, name_of(entry), entry.frame, 0, pvmmu::Rule::grant_no_l1_entry});
  return fail(Errno::einval);
}

Status GrantedFrames::map_granted(pvmmu::Held held, const GrantPlace& where, const GrantedEntry& entry) {
  const auto at = find(held, where);
  if (!at) return no_entry(held, pvmmu::GrantPurpose::map, entry);
  return status_of(parts_.mmu.map_granted(held, *at, entry_of(entry), name_of(entry)));
}

Status GrantedFrames::unmap_granted(pvmmu::Held held, const GrantPlace& where, const GrantedEntry& entry) {
  const auto at = find(held, where);
  if (!at) return no_entry(held, pvmmu::GrantPurpose::unmap, entry);
  return status_of(parts_.mmu.unmap_granted(held, *at, entry_of(entry), name_of(entry)));
}

Status GrantedFrames::replace_granted(pvmmu::Held held, const GrantPlace& where, const GrantedEntry& entry,
                                      GuestVaddr from) {
  const auto taken = find(held, {from.raw(), false, where.vcpu});
  if (!taken) return no_entry(held, pvmmu::GrantPurpose::unmap, entry);
  // An address without an entry is at no place: the entry at `from` is cleared all the same.
  const auto at = find(held, where);
  return status_of(
      parts_.mmu.replace_granted(held, at.value_or(*taken), entry_of(entry), *taken, name_of(entry)));
}

Status GrantedFrames::give_away(pvmmu::Held held, VcpuId by, Mfn frame) {
  parts_.holds.settle(held);
  if (auto given = status_of(parts_.mmu.give_away(held, frame)); !given) return given;
  flush_granted(held, by);
  return {};
}

Status GrantedFrames::give_to_itself(pvmmu::Held held, Mfn frame, const AcceptFrame& accept) {
  parts_.holds.settle(held);
  if (auto unused = status_of(parts_.mmu.check_exchangeable(held, frame)); !unused) return unused;
  const auto pfn = accept();
  if (pfn) return status_of(parts_.mmu.set_machphys(held, frame, *pfn, 1));
  (void)parts_.mmu.deallocate(held, frame);
  return fail(pfn.error());
}

/// The guest's entry is marked only if nothing can fail any more.
Status DomainFrameReceiver::receive(Mfn frame, const AcceptFrame& accept) {
  const pvmmu::DomainLock lock(mutex_);
  if (!mmu_.has_room()) return fail(Errno::enomem);
  const auto pfn = accept();
  return pfn ? status_of(mmu_.receive(lock, frame, *pfn)) : fail(pfn.error());
}

void GrantedFrames::without_lock(pvmmu::DomainLock& held, VcpuId by, const std::function<void()>& visit) {
  // A flush is due: make it now. Once the lock is free another vCPU might take over this duty, and this vCPU
  // would go on before the vCPUs in the guest have flushed.
  if (parts_.mmu.take_flush_duty()) parts_.flush_all(by);
  const pvmmu::Budget left = parts_.mmu.budget(held);
  held.unlock();
  visit();
  held.lock();
  // Other vCPUs answered hypercalls meanwhile, with budgets of their own.
  parts_.mmu.set_budget(held, left);
}

void GrantedFrames::flush_granted(pvmmu::Held, VcpuId by) {
  (void)parts_.mmu.take_flush_duty();
  parts_.flush_all(by);
}

void GrantedFrames::tell(pvmmu::Held, const GrantAttempt& attempt) {
  if (parts_.trace == nullptr) return;
  pvmmu::TraceEvent event;
  event.kind = pvmmu::TraceKind::use_grant;
  event.grant = attempt.grant;
  event.frame = attempt.frame;
  event.argument = attempt.argument;
  event.count = static_cast<std::uint64_t>(attempt.purpose);
  if (attempt.refused) event.refusal.emplace().rule = *attempt.refused;
  parts_.trace->event(event);
}

}  // namespace pinfold::vmm
