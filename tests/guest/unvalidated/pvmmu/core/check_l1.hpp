// TEST ONLY. Stands in for pvmmu/core/check_l1.hpp: the validator with its central check gone, so that a test
// can attack the walls behind it. An L1 entry may name any frame, of the machine or not, and map it writable,
// whoever owns it and whatever it is. With PINFOLD_TEST_VIEW_GIVES_WAY a table that is mapped writable is so
// in the view, too; with PINFOLD_TEST_MIRROR_GIVES_WAY a mirror's leaf can name a mirror. Linked into
// pinfold_unvalidated, pinfold_mirror_only and pinfold_view_only; nothing of this is in pinfold.
#pragma once

#include <cstdio>

#include "pvmmu/core/plain_l1.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

inline const bool unvalidated_announced = [] {
  std::fputs(
      "pinfold_unvalidated: THE VALIDATOR IS SWITCHED OFF; this program is for tests of the other walls\n",
      stderr);
  return true;
}();

#ifdef PINFOLD_TEST_MIRROR_GIVES_WAY
inline constexpr bool mirror_gives_way = true;
#else
inline constexpr bool mirror_gives_way = false;
#endif

/// Of the validator's private parts, the view alone.
struct StateAccess {
  static FrameView& view(Validator& mmu) { return mmu.view_; }
};

template <class Memory, class Records, class Locks>
Checked PlainL1<Memory, Records, Locks>::check(Pte want) {
  const Mfn mfn = want.mfn();
  // Past the machine's end there is nothing to count. The guest's entry says nothing, the processor's does.
  if (mfn.raw() >= records_.size())
    return CheckedEntry(Pte(), mirror_gives_way ? Pte(mfn, mirror_leaf(want).flags()) : mirror_leaf(want));
  FrameFacts& facts = records_.facts(mfn);
  if (facts.mine && want.writable() && !is_protected(facts.type)) facts.type = FrameType::writable;
#ifdef PINFOLD_TEST_VIEW_GIVES_WAY
  if (facts.mine && want.writable() && is_protected(facts.type))
    StateAccess::view(records_.mmu).unprotect(mfn);
#endif
  // The domain's frames are counted whatever they are, so that dropping the entry finds what it takes back.
  // An entry of another's frame is dropped as one that was never checked.
  if (facts.mine) Records::Access::add(records_.uses(mfn), want.writable());
  return CheckedEntry(want, mirror_leaf(want));
}

}  // namespace pinfold::pvmmu
