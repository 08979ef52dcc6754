// Where a checked entry is stored, into a guest's table and its mirror, and nowhere else: commit() ends every
// update, commit_in_new_table() the check of each entry of a frame that becomes a table. Inline: they are
// short, and on the shortest ways.
#pragma once

#include <atomic>
#include <cstddef>

#include "pvmmu/checked_entry.hpp"
#include "pvmmu/counters.hpp"

namespace pinfold::pvmmu {

/// One entry of a mirror, where it is.
class MirrorEntry {
 public:
  explicit MirrorEntry(std::atomic_ref<std::uint64_t> at) : at_(at) {}
  [[nodiscard]] Pte load() const { return Pte(at_.load(std::memory_order_relaxed)); }
  void store(Pte entry) const { at_.store(entry.raw(), std::memory_order_relaxed); }

 private:
  std::atomic_ref<std::uint64_t> at_;
};

/// `where`: the entry of the guest's table; `mirror`: the one beside it, which holds `before`. Memory: as
/// core/plain_l1.hpp says.
template <class Memory>
[[gnu::always_inline]] inline void commit(Memory memory, MachineAddr where, MirrorEntry mirror, Pte before,
                                          const CheckedEntry& entry, MmuCounters& counters) {
  memory.store(where, entry.guest());
  mirror.store(entry.mirror());
  ++counters.entries_stored;
  memory.changed(where, before, entry.mirror());
}

/// `slot` of the guest's `table`, in its pages, and of a mirror that no processor knows yet, in the mirrors'
/// pages: so nothing of it is stale.
template <class Pages, class MirrorId>
[[gnu::always_inline]] inline void commit_in_new_table(Pages guest, Mfn table, Pages mirrors, MirrorId mirror,
                                                       std::size_t slot, const CheckedEntry& entry) {
  guest.store(table.raw(), slot, entry.guest().raw());
  mirrors.store(mirror.raw(), slot, entry.mirror().raw());
}

}  // namespace pinfold::pvmmu
