// Entries that name a frame of another domain: the only ones that do, and the only place where they are
// checked. Everywhere else, above all in core/check_l1.hpp, such a frame is refused, because it is not the
// domain's (FrameFacts::mine).
//
// The frame's owner has its part in its own records: the use of the grant holds the frame there, for writing
// with the type `writable`, so that the frame stays data, and stays the owner's, as long as it is mapped
// here. So nothing of the owner's has to be known here, and no lock of the owner's is needed.
#include "pvmmu/core/access.hpp"
#include "pvmmu/validator_l1.hpp"

namespace pinfold::pvmmu {

/// One more mapping of a frame of `lender`'s, which holds the frame for it.
Verdict<> Validator::borrow(Mfn mfn, bool writable, DomId lender) {
  if (!contains(mfn) || lender == domain_ || frames_.owner_tag(mfn) != FrameTable::tag_of(lender))
    return refuse(Rule::l1_foreign_frame, mfn);
  BorrowedFrames::Mappings mappings = borrowed_.of(mfn);
  if (mappings.all() >= max_references) return refuse(Rule::count_overflow, mfn);
  const Loan before = mappings.loan();
  ++mappings.of(writable);
  if (mappings.loan() != before) {
    budget_.spend(cost::view);
    if (!view_.lend(mfn, mappings.loan())) return refuse(Rule::view_cannot_lend, mfn);
  }
  borrowed_.set(mfn, mappings);
  mutable_facts(mfn).borrowed = true;
  return {};
}

/// Ends the mapping that made the entry `granted`, which is gone. A mapping of the domain's own frame was
/// nothing but its entry. Once this returns, no processor reaches the frame by it, whatever
/// translation it has cached. Refused: the host did not change the view, and the mapping stays. So the frame
/// stays held in its owner's records, and nobody else gets it (XSA-222).
Verdict<> Validator::end_borrow(Pte granted) {
  const Mfn mfn = granted.mfn();
  const bool writable = granted.writable();
  if (!contains(mfn) || !facts(mfn).borrowed) return {};
  BorrowedFrames::Mappings mappings = borrowed_.of(mfn);
  const FrameUses& uses = records_.uses(mfn);
  if (mappings.of(writable) == 0 || uses.refs >= mappings.all() ||
      (writable && uses.writable >= mappings.writers)) [[unlikely]] {
    note_stray(mfn);
    return refuse(Rule::grant_other_mapping, mfn);
  }
  const Loan before = mappings.loan();
  --mappings.of(writable);
  if (mappings.loan() != before) {
    budget_.spend(cost::view);
    if (!view_.lend(mfn, mappings.loan())) return refuse(Rule::view_cannot_lend, mfn);
  }
  borrowed_.set(mfn, mappings);
  if (mappings.all() == 0) mutable_facts(mfn).borrowed = false;
  return {};
}

/// The references of an entry that names a borrowed frame, or the rule by which it may not be there. The
/// counterpart of PlainL1::check for frames that are not the domain's.
Checked Validator::check_borrowed(Pte want) {
  const Mfn mfn = want.mfn();
  if (!contains(mfn) || !facts(mfn).borrowed) return Rule::l1_foreign_frame;
  if (want.writable() && borrowed_.of(mfn).writers == 0) return Rule::l1_foreign_frame;
  FrameUses& uses = records_.uses(mfn);
  if (uses.refs >= max_references) return Rule::count_overflow;
  ExclusiveAccess::add(uses, want.writable());
  return CheckedEntry(want, mirror_of_adjusted_leaf(want));
}

/// Drops the references of an entry that named a frame of another domain, which is that one's to free.
void Validator::drop_of_others(Pte old) {
  const Mfn mfn = old.mfn();
  if (!contains(mfn) || !facts(mfn).borrowed) return note_stray(mfn);
  FrameUses& uses = records_.uses(mfn);
  if (ExclusiveAccess::drop(uses, old.writable()) >= 0) return;
  ExclusiveAccess::add(uses, old.writable());
  note_stray(mfn);
}

/// The entry at `where`, which is one of an L1, becomes `want`, which names a borrowed frame.
Verdict<> Validator::store_borrowed(MachineAddr where, Pte want) {
  const Where place{frame_of(where), offset_in_page(where) / sizeof(Pte)};
  const L1Memory memory{*this};
  const Pte old = memory.load(where);
  const MirrorEntry mirror = mirror_entry(facts(place.table), where);
  const Pte mirrored = mirror.load();
  if (leaf_differs(old, mirrored)) return refuse_breach(place, old, mirrored);
  want = adjusted_l1(want);
  ++counters_.entries_checked;
  const Checked entry = check_borrowed(want);
  if (!entry) return refuse(entry.rule(), place, want, want.mfn());
  commit(memory, where, mirror, mirrored, *entry, counters_);
  exclusive_l1().drop(old);
  return {};
}

bool Validator::may_access(Mfn mfn, bool write) const {
  if (owns(mfn)) return !write || may_be_written(facts(mfn));
  if (!contains(mfn) || !facts(mfn).borrowed) return false;
  return !write || borrowed_.of(mfn).writers != 0;
}

}  // namespace pinfold::pvmmu
