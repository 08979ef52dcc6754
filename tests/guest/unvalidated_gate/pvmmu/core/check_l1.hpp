// TEST ONLY. Stands in for pvmmu/core/check_l1.hpp in the gate of pinfold_unvalidated, as
// unvalidated/pvmmu/core/check_l1.hpp does in its monitor: an L1 entry may name any frame, and map it
// writable.
#pragma once

#include "pvmmu/core/plain_l1.hpp"

namespace pinfold::pvmmu {

template <class Memory, class Records, class Locks>
[[gnu::always_inline]] inline Checked PlainL1<Memory, Records, Locks>::check(Pte want) {
  const Mfn mfn = want.mfn();
  if (mfn.raw() >= records_.size()) return CheckedEntry(Pte(), mirror_leaf(want));
  if (records_.facts(mfn).mine) Records::Access::add(records_.uses(mfn), want.writable());
  return CheckedEntry(want, mirror_leaf(want));
}

}  // namespace pinfold::pvmmu
