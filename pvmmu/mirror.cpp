#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

void StaleLog::push(Entry e) {
  // An update of many entries of one table in a row is one stale table.
  if (!entries_.empty() && entries_.back().table == e.table && entries_.back().whole_table) return;
  entries_.push_back(e);
}

std::optional<MirrorId> MirrorArena::take(Mfn table) {
  if (!free_.empty()) {
    const MirrorId id = free_.back();
    free_.pop_back();
    tables_[id.raw()] = table;
    return id;
  }
  if (next_ >= pages_.count()) return std::nullopt;
  tables_.push_back(table);
  return MirrorId(next_++);
}

void MirrorArena::retire(MirrorId id) { retired_.push_back(id); }

void MirrorArena::reuse_retired() {
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
}

}  // namespace pinfold::pvmmu
