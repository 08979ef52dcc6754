// The one function that stores into a guest's table and its mirror. Inline: it ends every update.
#pragma once

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

[[gnu::always_inline]] inline void Validator::commit(MachineAddr where, const Frame& table,
                                                     const CheckedEntry& entry, MmuCounters& counters) {
  const auto guest = machine_.at(where.raw());
  const auto mirrored = mirror_pages_.at((std::uint64_t{table.mirror} << page_shift) + offset_in_page(where));
  const Pte before(mirrored.load(std::memory_order_relaxed));
  guest.store(entry.guest().raw(), std::memory_order_relaxed);
  mirrored.store(entry.mirror().raw(), std::memory_order_relaxed);
  ++counters.entries_stored;
  if (logs_stale_) [[unlikely]]
    log_stale(where, before, entry.mirror());
}

}  // namespace pinfold::pvmmu
