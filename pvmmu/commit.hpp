// The one function that stores into a guest's table and its mirror. Inline: it ends every update.
#pragma once

#include <atomic>

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

}  // namespace pinfold::pvmmu
