#include "vmm/cpu/entry_stubs.hpp"

#include <unordered_map>
#include <utility>

#include "pvmmu/entry_rules.hpp"

namespace pinfold::vmm {
namespace {

/// So many stale entries of one table cost more than making KVM forget the table and build it anew.
constexpr std::size_t worth_a_table = 16;

}  // namespace

void EntryStubs::prepare(pvmmu::Held held, std::optional<Stub>& stub, std::uint64_t cr3, bool through_iret) {
  if (parts_.shadowed)
    refresh(held, stub);
  else
    flush(stub, cr3, through_iret);
  under_way_ = stub.has_value();
  more_ = stub && stub->leaves;
  if (stub) ++parts_.statistics.entry_stubs;
}

void EntryStubs::finished(pvmmu::Held held) {
  under_way_ = false;
  parts_.mmu.stale_entries_settled(held, std::exchange(settles_below_, 0));
}

/// The log is a TLB's twin: it is drained when the guest, or the validator for it, asks for a flush. What one
/// vCPU makes KVM forget is forgotten for all.
void EntryStubs::refresh(pvmmu::Held held, std::optional<Stub>& stub) {
  const pvmmu::StaleLog& stale = parts_.stale;
  FlushDuties& duties = parts_.duties;
  if (!duties.due(parts_.id) && !stale.wants_draining()) return;
  if (stale.empty()) return duties.handed_over(parts_.id);
  stub.emplace();
  settles_below_ = refresh_stale_entries(stub->code);
  stub->leaves = settles_below_ != stale.end();
  if (stub->code.empty()) {  // everything is back as it was
    parts_.mmu.stale_entries_settled(held, settles_below_);
    if (!stub->leaves) duties.handed_over(parts_.id);
    stub.reset();
    return;
  }
  parts_.statistics.entry_stub_steps += settles_below_ - stale.first();
  duties.handed_over(parts_.id);
  if (stub->leaves) duties.request(parts_.id);
}

/// Writes the code that makes KVM forget the first entries of the log, as many as a stub takes; returns the
/// number of the first entry that is left.
std::uint64_t EntryStubs::refresh_stale_entries(EntryStub& code) const {
  const pvmmu::StaleLog& stale = parts_.stale;
  const pvmmu::MirrorArena& mirrors = parts_.mmu.mirrors();
  std::unordered_map<pvmmu::MirrorId, std::size_t> per_table;
  for (const auto& entry : stale.entries()) per_table[entry.table] += entry.whole_table ? worth_a_table : 1;
  std::uint64_t number = stale.first();
  for (const auto& entry : stale.entries()) {
    if (code.full()) break;
    ++number;
    const Mfn frame = mirrors.frame(entry.table);
    std::size_t& left = per_table[entry.table];
    if (left == 0) continue;  // the whole table was dropped already
    if (left >= worth_a_table) {
      code.rewrite_word(parts_.gate.arena_address(frame, 0));
      left = 0;
    } else if (pvmmu::narrows(entry.before, mirrors.load(entry.table, entry.slot))) {
      code.rewrite(parts_.gate.arena_address(frame, std::size_t{entry.slot} * 8));
    }
  }
  return number;
}

/// A flush of the TLB, or selectors that only an IRETQ loads.
void EntryStubs::flush(std::optional<Stub>& stub, std::uint64_t cr3, bool through_iret) {
  if (!parts_.duties.due(parts_.id) && !through_iret) return;
  stub.emplace();
  stub->code.reload_cr3(cr3);
  if (stub->code.drops_translations()) parts_.duties.handed_over(parts_.id);
}

}  // namespace pinfold::vmm
