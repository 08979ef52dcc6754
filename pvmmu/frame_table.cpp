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

std::optional<FrameTable::Taken> FrameTable::take(std::uint64_t count, std::uint64_t alignment) {
  if (count == 1 && alignment == 1 && !returned_.empty()) {
    const Mfn mfn = returned_.back();
    returned_.pop_back();
    return Taken{mfn, true};
  }
  const std::uint64_t first = (next_ + alignment - 1) / alignment * alignment;
  if (first > size_ || count > size_ - first) return take_returned(count, alignment);
  for (std::uint64_t skipped = next_; skipped < first; ++skipped) returned_.emplace_back(skipped);
  next_ = first + count;
  return Taken{Mfn(first), false};
}

/// Frames that were given back, where enough of them lie side by side.
std::optional<FrameTable::Taken> FrameTable::take_returned(std::uint64_t count, std::uint64_t alignment) {
  if (count > returned_.size()) return std::nullopt;
  for (std::uint64_t first = alignment; first + count <= next_; first += alignment) {
    std::uint64_t free = 0;
    while (free < count && records_[first + free].owner_plus_1 == 0) ++free;
    if (free < count) continue;
    std::erase_if(returned_, [&](Mfn mfn) { return mfn.raw() >= first && mfn.raw() - first < count; });
    return Taken{Mfn(first), true};
  }
  return std::nullopt;
}

void FrameTable::give_back(Mfn mfn) {
  records_[mfn.raw()] = Frame{};
  returned_.push_back(mfn);
}

}  // namespace pinfold::pvmmu
