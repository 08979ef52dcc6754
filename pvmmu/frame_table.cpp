#include "pvmmu/frame_table.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace pinfold::pvmmu {

std::string_view name(FrameType type) {
  static constexpr std::array<std::string_view, frame_types> names{"none", "l1",       "l2",      "l3",
                                                                   "l4",   "seg_desc", "writable"};
  return names[static_cast<std::size_t>(type)];
}

FrameTable::FrameTable(std::uint64_t frames, std::uint64_t most)
    : tags_(frames, most), most_(most), size_(frames), returned_(most) {}

void FrameTable::grow(std::uint64_t frames) {
  const PoolLock held(pool_);
  size_ = frames;
}

std::uint64_t FrameTable::size() const {
  const PoolLock held(pool_);
  return size_;
}

FrameTable::Range FrameTable::withheld(PoolHeld) const {
  if (size_ <= withheld_.first.raw()) return {};
  return {withheld_.first, std::min(withheld_.count, size_ - withheld_.first.raw())};
}

FrameTable::Range FrameTable::withheld() const {
  const PoolLock held(pool_);
  return withheld(held);
}

std::optional<FrameTable::Taken> FrameTable::take(DomId owner, std::uint64_t count, std::uint64_t alignment) {
  const PoolLock held(pool_);
  const auto taken = find(held, count, alignment);
  if (!taken) return taken;
  tags_.will_fill(taken->first.raw(), count);
  for (std::uint64_t i = 0; i < count; ++i) set_owner_tag(taken->first.plus(i), tag_of(owner));
  return taken;
}

void FrameTable::prescribe(std::optional<Taken> next) {
  const PoolLock held(pool_);
  prescribed_ = true;
  next_taken_ = next;
}

void FrameTable::take_out(Mfn mfn) {
  const PoolLock held(pool_);
  set_owner_tag(mfn, 0);
}

void FrameTable::put_in(Mfn mfn, DomId owner) {
  const PoolLock held(pool_);
  set_owner_tag(mfn, tag_of(owner));
}

std::uint64_t FrameTable::free_frames() const {
  const PoolLock held(pool_);
  const Range kept = withheld(held);
  return size_ - next_ - (next_ < kept.end().raw() ? kept.count : 0) + returned_.count();
}

std::uint64_t FrameTable::unused_extent() const {
  const PoolLock held(pool_);
  const Range kept = withheld(held);
  if (kept.count == 0 || next_ >= kept.end().raw()) return size_ - next_;
  return next_ < kept.first.raw() ? kept.first.raw() - next_ : size_ - kept.end().raw();
}

std::uint64_t FrameTable::pool_steps() const {
  const PoolLock held(pool_);
  return returned_.steps();
}

std::optional<FrameTable::Taken> FrameTable::find(PoolHeld held, std::uint64_t count,
                                                  std::uint64_t alignment) {
  if (prescribed_) [[unlikely]]
    return std::exchange(next_taken_, std::nullopt);
  if (count == 1 && alignment == 1)
    if (const auto mfn = returned_.take(0)) return Taken{*mfn, true};
  if (count == 0 || alignment == 0 || alignment > size_) return std::nullopt;
  const auto aligned = [alignment](std::uint64_t at) { return (at + alignment - 1) / alignment * alignment; };
  std::uint64_t first = aligned(next_);
  const std::uint64_t gap = withheld_.first.raw(), gap_end = withheld_.end().raw();
  if (first < gap_end && (first >= gap || count > gap - first)) first = aligned(gap_end);
  if (first > size_ || count > size_ - first) return find_returned(held, count, alignment);
  for (std::uint64_t skipped = next_; skipped < first; ++skipped)
    if (!withheld_.contains(Mfn(skipped))) returned_.add(Mfn(skipped));
  next_ = first + count;
  return Taken{Mfn(first), false};
}

/// Takes frames that were given back, if enough of them lie side by side. It takes a block whose size is a
/// power of two, at a multiple of that size, and gives back what the caller does not need of it.
std::optional<FrameTable::Taken> FrameTable::find_returned(PoolHeld, std::uint64_t count,
                                                           std::uint64_t alignment) {
  constexpr std::uint64_t most = 1ULL << FreeFrames::max_order;
  if (!std::has_single_bit(alignment) || std::max(count, alignment) > most) return std::nullopt;
  const std::uint64_t size = std::bit_ceil(std::max(count, alignment));
  const auto first = returned_.take(static_cast<unsigned>(std::countr_zero(size)));
  if (!first) return std::nullopt;
  for (std::uint64_t i = count; i < size; ++i) returned_.add(first->plus(i));
  return Taken{*first, true};
}

void FrameTable::give_back(Mfn mfn) {
  const PoolLock held(pool_);
  if (!prescribed_) returned_.add(mfn);
  set_owner_tag(mfn, 0);
}

}  // namespace pinfold::pvmmu
