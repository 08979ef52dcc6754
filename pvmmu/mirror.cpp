#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

void StaleLog::push(Entry e) {
  // An update of many entries of one table in a row is one stale table.
  if (!entries_.empty() && entries_.back().table == e.table && entries_.back().whole_table) return;
  entries_.push_back(e);
}

std::size_t StaleLog::drop_below(std::uint64_t end) {
  if (end <= first_) return 0;
  const std::uint64_t count = std::min<std::uint64_t>(end - first_, entries_.size());
  const auto last = entries_.begin() + static_cast<std::ptrdiff_t>(count);
  const auto retired = std::count_if(entries_.begin(), last, [](const Entry& e) { return e.whole_table; });
  entries_.erase(entries_.begin(), last);
  first_ += count;
  return static_cast<std::size_t>(retired);
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

void MirrorArena::reuse_retired(std::size_t count) {
  const auto end = retired_.begin() + static_cast<std::ptrdiff_t>(std::min(count, retired_.size()));
  free_.insert(free_.end(), retired_.begin(), end);
  reused_ += static_cast<std::uint64_t>(end - retired_.begin());
  retired_.erase(retired_.begin(), end);
}

}  // namespace pinfold::pvmmu
