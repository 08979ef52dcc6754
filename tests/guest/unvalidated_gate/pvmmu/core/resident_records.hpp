// TEST ONLY. Stands in for pvmmu/core/resident_records.hpp in the gate of pinfold_unvalidated: any frame may
// be named.
#pragma once

#include "pvmmu/core/access.hpp"
#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// The `Records` of plain_l1.hpp for ResidentPath. `Arrays` says where they are: `uint64_t size()`,
/// `const FrameFacts& facts(Mfn)`, `FrameUses& uses(Mfn)`.
template <class Arrays>
struct ResidentRecords {
  using Access = SharedAccess;
  Arrays arrays;
  [[nodiscard]] std::uint64_t size() const { return arrays.size(); }
  [[nodiscard]] const FrameFacts& facts(Mfn mfn) const { return arrays.facts(mfn); }
  [[nodiscard]] FrameUses& uses(Mfn mfn) const { return arrays.uses(mfn); }
  [[nodiscard]] bool owns(Mfn mfn) const { return mfn.raw() < size() && facts(mfn).mine; }
  /// As Validator::stays(): a frame of the reservation stays the domain's, whatever its counts become.
  [[nodiscard]] bool may_count(Mfn mfn) const { return owns(mfn) && facts(mfn).allocated; }
  [[nodiscard]] bool may_take(Pte) const { return true; }
  void become_writable(Mfn) const {}
  void dropped_last(Mfn) const {}
  void drop_of_others(Pte) const {}
  /// The count is what it was again. The monitor finds the forged entry, or an audit does.
  void stray(Mfn) const {}
};

}  // namespace pinfold::pvmmu
