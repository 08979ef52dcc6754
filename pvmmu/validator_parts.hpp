// What a validator works on, and the values that its operations take and return.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "pvmmu/frame_table.hpp"
#include "pvmmu/frame_view.hpp"
#include "pvmmu/memory.hpp"
#include "pvmmu/mirror.hpp"
#include "pvmmu/pte.hpp"
#include "pvmmu/trace.hpp"

namespace pinfold::pvmmu {

/// What the validator works on. All outlive it.
struct ValidatorParts {
  DomId domain;
  FrameTable& frames;
  Pages machine;  ///< Guest frames, by MFN.
  Pages m2p;      ///< The machine-to-phys array: one 8-byte PFN per MFN, 512 a page.
  MirrorArena& mirrors;
  StaleLog& stale;
  FrameView& view;
  std::array<Pte, xen_slots> l4_xen_slots;     ///< What each root's mirror holds in slots 256 to 271.
  std::size_t machphys_slot = first_xen_slot;  ///< Which of those is the machine-to-phys table's.
  std::uint64_t max_frames = 1ULL << 40;       ///< The domain's reservation may not exceed this.
  TraceSink* trace = nullptr;                  ///< Gets an event of each operation; may be null.
  /// Windows that the domain may have (linear_windows.hpp); 0: linear page tables are refused.
  std::uint64_t most_windows = 0;
  bool records_in_vm = false;  ///< Its VM has facts and uses, too: they lie in pages of their own.
};

/// The place of an entry. Small, so that it is passed in registers.
struct EntryWhere {
  EntryWhere() = default;
  EntryWhere(Mfn in, std::size_t at, Level of = Level::l1)
      : table(in), slot(static_cast<std::uint16_t>(at)), level(of) {}
  Mfn table = no_mfn;
  std::uint16_t slot = 0;
  Level level = Level::l1;
};

/// Where an L1 entry is, and what the levels above it allow.
struct Leaf {
  Mfn table;
  std::uint16_t slot = 0;
  Pte entry;
  bool writable = false;    ///< RW at every level.
  bool executable = false;  ///< NX at none.
  bool linear = false;      ///< Behind a linear entry: the table is of level 2 to 4, and can't be written so.
};

/// Proof that something wrote a table, a descriptor page or a mirror without the validator: the value that
/// was read back is not the one that was stored. The validator did not use that value.
struct Breach {
  Mfn table = no_mfn;  ///< Where the entry or descriptor is; no_mfn: only the frame that it named is known.
  std::uint16_t slot = 0;
  Level level = Level::l1;
  Pte guest;           ///< What the guest's table holds.
  Pte mirror;          ///< What the mirror holds.
  Mfn named = no_mfn;  ///< A frame that an entry named without holding a reference to it.
  /// One sentence.
  [[nodiscard]] std::string describe() const;
};

/// How a store hits an entry.
enum class Preserve : std::uint8_t { nothing, accessed_and_dirty };

}  // namespace pinfold::pvmmu
