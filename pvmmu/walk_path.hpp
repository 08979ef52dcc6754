// The way from a root to a page, level by level: what the guest's tables say, and what the processor walks.
#pragma once

#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// One entry on the way.
struct WalkStep {
  Level level = Level::l4;
  Mfn table;            ///< The guest's.
  Mfn mirror = no_mfn;  ///< What the processor walks in its place.
  std::uint16_t slot = 0;
  Pte entry;     ///< The guest's, as it stands in its frame.
  Pte mirrored;  ///< The processor's.
};

/// Follows `va` through the validated tables below `root`, down to the L1 or the first entry that is not
/// present. Empty: `root` is no_mfn, or the address is not the guest's (not canonical, or in Xen's range).
[[nodiscard]] std::vector<WalkStep> walk_path(Held held, const Validator& mmu, Mfn root, GuestVaddr va);

}  // namespace pinfold::pvmmu
