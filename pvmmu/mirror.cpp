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
  for (const Sealed& s : sealed_) free_.push_back(s.mirror);
  sealed_.clear();
}

void MirrorArena::seal_retired(Epoch epoch) {
  for (const MirrorId id : retired_) sealed_.push_back({epoch, id});
  retired_.clear();
}

void MirrorArena::reuse_retired(Epoch forgotten) {
  while (!sealed_.empty() && sealed_.front().epoch <= forgotten) {
    free_.push_back(sealed_.front().mirror);
    sealed_.pop_front();
  }
}

}  // namespace pinfold::pvmmu
