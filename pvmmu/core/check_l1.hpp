// Where an L1 entry is refused, or becomes a CheckedEntry (entry_check.hpp has the levels above).
//
// For every present entry: which bits may be set, does the frame belong to the domain, and is the frame what
// the entry makes of it? An entry with RW needs the frame to be plain writable data. The reference that is
// taken here is what keeps it so. Inline: every update of an L1 entry and every validation of an L1 comes
// through here.
#pragma once

#include "pvmmu/core/plain_l1.hpp"

namespace pinfold::pvmmu {

template <class Memory, class Records, class Locks>
[[gnu::always_inline]] inline Checked PlainL1<Memory, Records, Locks>::check(Pte want) {
  using Access = typename Records::Access;
  if (want.any(l1_refused_bits)) [[unlikely]]
    return want.any(cache_bits) ? Rule::l1_cache_attributes : Rule::entry_bad_flags;

  const Mfn mfn = want.mfn();
  if (mfn.raw() >= records_.size()) [[unlikely]]
    return mfn == all_ones_frame ? Rule::l1_invalid_frame : Rule::l1_no_such_frame;

  const FrameFacts& facts = records_.facts(mfn);
  if (!facts.mine) [[unlikely]]
    return Rule::l1_foreign_frame;
  FrameUses& uses = records_.uses(mfn);
  if (Access::read(uses.refs) >= max_references) [[unlikely]]
    return Rule::count_overflow;

  if (want.writable()) {
    if (const FrameType type = Access::read(facts.type); type != FrameType::writable) {
      // A frame has a protected type only as long as somebody relies on it.
      if (transition(type, is_protected(type), FrameType::writable) == Transition::refuse) [[unlikely]]
        return Rule::l1_writable_map_of_table;
      records_.become_writable(mfn);
    }
  }
  Access::add(uses, want.writable());
  return CheckedEntry(want, mirror_of_adjusted_leaf(want));
}

}  // namespace pinfold::pvmmu
