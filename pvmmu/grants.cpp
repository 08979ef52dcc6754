// Grants, as far as they concern frames and tables: what a domain grants stays its own while it is used, and
// what was granted to it is mapped by entries that only the grant's operations make.
//
// A use of a grant holds its frame. A use for writing holds it as `writable`, so that the frame can't become
// a table. A use for reading takes a reference without a type, because Xen lets tables be granted for
// reading; it is counted with the read-only entries that name the frame (FrameUses::refs). The entry by which
// a grant is mapped has references of its own, like any other. So whatever the guest makes of the entry, the
// frame stays as long as the use lasts.
#include "pvmmu/core/access.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator_l1.hpp"

namespace pinfold::pvmmu {
namespace {

std::size_t slot_at(MachineAddr where) { return offset_in_page(where) / sizeof(Pte); }

}  // namespace

Verdict<> Validator::hold_readable(Held, Mfn mfn) {
  TracedOperation traced(*this, TraceKind::hold_readable, mfn);
  return traced.run([&]() -> Verdict<> {
    if (auto owned = check_owned(mfn); !owned) return owned;
    if (records_.uses(mfn).refs >= max_references) return refuse(Rule::count_overflow, mfn);
    ExclusiveAccess::add(records_.uses(mfn), false);
    return {};
  });
}

void Validator::release_readable(Held, Mfn mfn) {
  const TracedOperation traced(*this, TraceKind::release_readable, mfn);
  if (ExclusiveAccess::drop(records_.uses(mfn), false) == 0) free_if_unreferenced(mfn);
}

bool Validator::try_hold_readable(Shared, Mfn mfn) {
  if (mfn.raw() >= short_way_end_ || !stays(mfn)) return false;
  if (SharedAccess::read(records_.uses(mfn).refs) >= max_references) return false;
  SharedAccess::add(records_.uses(mfn), false);
  return true;
}

bool Validator::try_release_readable(Shared, Mfn mfn) {
  if (mfn.raw() >= short_way_end_ || !stays(mfn)) return false;
  (void)SharedAccess::drop(records_.uses(mfn), false);
  return true;
}

bool Validator::is_l1_entry(MachineAddr where) const {
  const Mfn table = frame_of(where);
  return where.raw() % sizeof(Pte) == 0 && owns(table) && facts(table).type == FrameType::l1 &&
         facts(table).mirror != 0;
}

Verdict<> Validator::map_granted(Held, MachineAddr where, Pte want, GrantName grant) {
  TracedOperation traced(*this, TraceKind::map_granted);
  if (traced) traced.changes_grant(where, want, grant);
  return traced.run([&]() -> Verdict<> {
    if (!is_l1_entry(where))
      return refuse(Rule::grant_no_l1_entry, Where{frame_of(where), slot_at(where)}, want, frame_of(where));
    return grant.lender == domain_ ? store_own(where, want) : map_lent(where, want, grant.lender);
  });
}

Verdict<> Validator::map_lent(MachineAddr where, Pte want, DomId lender) {
  if (auto intact = check_intact(where); !intact) return intact;
  if (auto lent = borrow(want.mfn(), want.writable(), lender); !lent) return lent;
  return store_borrowed(where, want);  // nothing is left for which that could fail
}

/// The entry becomes `want`, which names a frame of the domain's own, or none.
Verdict<> Validator::store_own(MachineAddr where, Pte want) {
  if (!is_l1_entry(where))
    return refuse(Rule::grant_no_l1_entry, Where{frame_of(where), slot_at(where)}, want, frame_of(where));
  Verdict<> verdict;
  update_owned(verdict, where, want, Preserve::nothing);
  return verdict;
}

/// Does the mirror have what the table has there?
Verdict<> Validator::check_intact(MachineAddr where) {
  const Pte found = L1Memory{*this}.load(where),
            mirrored = mirror_entry(facts(frame_of(where)), where).load();
  if (leaf_differs(found, mirrored))
    return refuse_breach(Where{frame_of(where), slot_at(where)}, found, mirrored);
  return {};
}

/// Does the entry map the frame as `granted` does?
Verdict<> Validator::check_granted(MachineAddr where, Pte granted) {
  const Where place{frame_of(where), slot_at(where)};
  if (!is_l1_entry(where)) return refuse(Rule::grant_no_l1_entry, place, granted, place.table);
  const Pte found = L1Memory{*this}.load(where);
  constexpr std::uint64_t compared = bit::address | bit::present | bit::writable;
  if (((found.raw() ^ granted.raw()) & compared) != 0)
    return refuse(Rule::grant_other_mapping, place, found, granted.mfn());
  return {};
}

/// An entry that maps a grant becomes `instead`, which is in one of the domain's tables already, or empty.
/// The grant's mapping has not ended by that.
Verdict<> Validator::change_granted(MachineAddr where, Pte granted, Pte instead) {
  if (auto maps = check_granted(where, granted); !maps) return maps;
  if (instead.present() && !owns(instead.mfn())) return store_borrowed(where, instead);
  return store_own(where, instead);
}

Verdict<> Validator::unmap_granted(Held, MachineAddr where, Pte granted, GrantName grant) {
  TracedOperation traced(*this, TraceKind::unmap_granted);
  if (traced) traced.changes_grant(where, granted, grant);
  return traced.run([&] {
    const Verdict<> cleared = change_granted(where, granted, Pte());
    return cleared ? end_borrow(granted) : cleared;
  });
}

Verdict<> Validator::replace_granted(Held, MachineAddr where, Pte granted, MachineAddr from,
                                     GrantName grant) {
  TracedOperation traced(*this, TraceKind::replace_granted);
  if (traced) {
    traced.changes_grant(where, granted, grant);
    traced->argument = from.raw();
  }
  return traced.run([&]() -> Verdict<> {
    if (!is_l1_entry(from))
      return refuse(Rule::grant_no_l1_entry, Where{frame_of(from), slot_at(from)}, granted, frame_of(from));
    return move_granted(where, granted, from);
  });
}

Verdict<> Validator::move_granted(MachineAddr where, Pte granted, MachineAddr from) {
  // The entry at `from` keeps its frame referenced until `where` does.
  const Verdict<> changed = from == where ? refuse(Rule::grant_other_mapping, granted.mfn())
                                          : change_granted(where, granted, L1Memory{*this}.load(from));
  const Verdict<> taken = store_own(from, Pte());
  if (!changed) return changed;
  return taken ? end_borrow(granted) : taken;
}

}  // namespace pinfold::pvmmu
