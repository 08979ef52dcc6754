#include "pvmmu/frame_table.hpp"

#include <new>

namespace pinfold::pvmmu {

std::string_view name(FrameType type) {
  static constexpr std::array<std::string_view, frame_types> names{"none", "l1",       "l2",      "l3",
                                                                   "l4",   "seg_desc", "writable"};
  return names[static_cast<std::size_t>(type)];
}

FrameTable::FrameTable(std::uint64_t frames)
    : records_(static_cast<Frame*>(std::calloc(frames, sizeof(Frame)))), size_(frames) {
  if (!records_) throw std::bad_alloc();
}

Frame FrameTable::as_seen_by(std::uint16_t tag, Mfn mfn) const {
  const std::uint16_t owner = records_[mfn.raw()].owner_tag();
  if (owner == tag) return records_[mfn.raw()];
  Frame stranger;
  stranger.set_owner_tag(owner);
  return stranger;
}

std::optional<FrameTable::Taken> FrameTable::take(DomId owner, std::uint64_t count, std::uint64_t alignment) {
  const PoolLock held(pool_);
  const auto taken = find(held, count, alignment);
  if (taken)
    for (std::uint64_t i = 0; i < count; ++i) records_[taken->first.raw() + i].set_owner(owner);
  return taken;
}

std::uint64_t FrameTable::free_frames() const {
  const PoolLock held(pool_);
  const std::uint64_t withheld = next_ < withheld_.end().raw() ? withheld_.count : 0;
  return size_ - next_ - withheld + returned_.size();
}

std::optional<FrameTable::Taken> FrameTable::find(PoolHeld held, std::uint64_t count,
                                                  std::uint64_t alignment) {
  if (count == 1 && alignment == 1 && !returned_.empty()) {
    const Mfn mfn = returned_.back();
    returned_.pop_back();
    return Taken{mfn, true};
  }
  const auto aligned = [alignment](std::uint64_t at) { return (at + alignment - 1) / alignment * alignment; };
  std::uint64_t first = aligned(next_);
  const std::uint64_t gap = withheld_.first.raw(), gap_end = withheld_.end().raw();
  if (first < gap_end && (first >= gap || count > gap - first)) first = aligned(gap_end);
  if (first > size_ || count > size_ - first) return find_returned(held, count, alignment);
  for (std::uint64_t skipped = next_; skipped < first; ++skipped)
    if (!withheld_.contains(Mfn(skipped))) returned_.emplace_back(skipped);
  next_ = first + count;
  return Taken{Mfn(first), false};
}

/// Frames that were given back, where enough of them lie side by side.
std::optional<FrameTable::Taken> FrameTable::find_returned(PoolHeld, std::uint64_t count,
                                                           std::uint64_t alignment) {
  if (count > returned_.size()) return std::nullopt;
  for (std::uint64_t first = alignment; first + count <= next_; first += alignment) {
    std::uint64_t free = 0;
    while (free < count && records_[first + free].owner_tag() == 0 && !withheld_.contains(Mfn(first + free)))
      ++free;
    if (free < count) continue;
    std::erase_if(returned_, [&](Mfn mfn) { return mfn.raw() >= first && mfn.raw() - first < count; });
    return Taken{Mfn(first), true};
  }
  return std::nullopt;
}

void FrameTable::give_back(Mfn mfn) {
  Frame& frame = records_[mfn.raw()];
  // All but the owner: the frame is the domain's until the pool has it.
  frame.refs = frame.type_count = frame.mirror = 0;
  frame.type = FrameType::none;
  frame.pinned = frame.validated = frame.partial = frame.allocated = frame.special = false;
  const PoolLock held(pool_);
  returned_.push_back(mfn);
  frame.set_owner_tag(0);
}

}  // namespace pinfold::pvmmu
