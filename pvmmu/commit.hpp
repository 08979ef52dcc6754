// The one function that stores into a guest's table and its mirror. Inline: it ends every update.
#pragma once

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

[[gnu::always_inline]] inline void Validator::commit(MachineAddr where, MirrorEntry mirror, Pte before,
                                                     const CheckedEntry& entry, MmuCounters& counters) {
  machine_.at(where.raw()).store(entry.guest().raw(), std::memory_order_relaxed);
  mirror.store(entry.mirror());
  ++counters.entries_stored;
  if (logs_stale_) [[unlikely]]
    log_stale(where, before, entry.mirror());
}

}  // namespace pinfold::pvmmu
