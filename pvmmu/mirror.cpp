#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

void StaleLog::drop_first(std::size_t count) {
  count = std::min(count, used_);
  std::copy(space_.begin() + static_cast<std::ptrdiff_t>(count),
            space_.begin() + static_cast<std::ptrdiff_t>(used_), space_.begin());
  used_ -= count;
  if (used_ == 0) last_whole_table_ = no_mirror;
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
