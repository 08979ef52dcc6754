// The one function that stores into a guest's table and its mirror.
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

void Validator::commit(const Where& where, Frame& table, const CheckedEntry& entry) {
  const MirrorId mirror(table.mirror);
  const Pte before = mirrors_.load(mirror, where.slot);
  machine_.store(where.table.raw(), where.slot, entry.guest().raw());
  mirrors_.store(mirror, where.slot, entry.mirror());
  if (narrows(before, entry.mirror())) stale_.changed(mirror, where.slot, before);
  ++counters_.entries_stored;
}

}  // namespace pinfold::pvmmu
