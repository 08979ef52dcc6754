// The one function that stores into a guest's table and its mirror. Inline: it ends every update.
#pragma once

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

[[gnu::always_inline]] inline void Validator::commit(Where where, const Frame& table,
                                                     const CheckedEntry& entry) {
  const MirrorId mirror(table.mirror);
  const Pte before = mirrors_.load(mirror, where.slot);
  machine_.store(where.table.raw(), where.slot, entry.guest().raw());
  mirrors_.store(mirror, where.slot, entry.mirror());
  ++counters_.entries_stored;
  if (stale_.enabled()) [[unlikely]]
    log_stale(mirror, where.slot, before, entry.mirror());
}

}  // namespace pinfold::pvmmu
