#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

std::size_t StaleLog::drop_below(std::uint64_t end) {
  if (end <= first_) return 0;
  const std::uint64_t count = std::min<std::uint64_t>(end - first_, used_);
  const auto kept = space_.begin() + static_cast<std::ptrdiff_t>(count);
  const auto retired = std::count_if(space_.begin(), kept, [](const Entry& e) { return e.whole_table; });
  std::copy(kept, space_.begin() + static_cast<std::ptrdiff_t>(used_), space_.begin());
  first_ += count;
  used_ -= count;
  if (used_ == 0) last_whole_table_ = no_mirror;
  return static_cast<std::size_t>(retired);
}

std::optional<MirrorId> MirrorArena::take(Mfn table) {
  if (!free_.empty()) {
    const MirrorId id = free_.back();
    free_.pop_back();
    dry_ = std::min(dry_, free_.size());
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
