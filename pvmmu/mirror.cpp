#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

void StaleLog::push(Entry e) {
  // An update of many entries of one table in a row is one stale table.
  if (!entries_.empty() && entries_.back().table == e.table && entries_.back().whole_table) return;
  constexpr std::size_t worth_a_table = 16;
  if (entries_.size() >= worth_a_table) {
    bool run = true;
    for (std::size_t i = entries_.size() - worth_a_table; i < entries_.size(); ++i)
      run = run && entries_[i].table == e.table;
    if (run) {
      entries_.resize(entries_.size() - worth_a_table);
      e.whole_table = true;
    }
  }
  entries_.push_back(e);
}

std::optional<MirrorId> MirrorArena::take() {
  if (!free_.empty()) {
    const MirrorId id = free_.back();
    free_.pop_back();
    return id;
  }
  if (next_ >= pages_.count()) return std::nullopt;
  return MirrorId(next_++);
}

void MirrorArena::retire(MirrorId id) { retired_.push_back(id); }

void MirrorArena::reuse_retired() {
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
}

}  // namespace pinfold::pvmmu
