#include "vmm/memory/arena.hpp"

#include <cstdlib>

namespace pinfold::vmm {

Arena::Arena(Mapping memory, Mfn first, std::uint64_t fixed)
    : memory_(std::move(memory)),
      first_(first),
      fixed_(fixed),
      mirrors_(pvmmu::Pages(memory_.base() + fixed * page_size, memory_.size() / page_size - fixed),
               first.plus(fixed)) {}

MemoryResult<std::unique_ptr<Arena>> Arena::create(Mfn first_frame, std::uint64_t fixed,
                                                   std::uint64_t mirrors) {
  auto memory = Mapping::anonymous((fixed + mirrors) * page_size);
  if (!memory) return tl::unexpected(memory.error());
  return std::unique_ptr<Arena>(new Arena(std::move(*memory), first_frame, fixed));
}

void Arena::trim() {
  mirrors_.let_go_of_memory(kept_free, trimmed_at_once, [this](pvmmu::MirrorId id) {
    memory_.discard((fixed_ + id.raw()) * page_size, page_size);
  });
}

Mfn Arena::take_fixed(std::uint64_t pages) {
  if (next_fixed_ + pages > fixed_) std::abort();
  const Mfn first = first_.plus(next_fixed_);
  next_fixed_ += pages;
  return first;
}

std::byte* Arena::bytes(Mfn frame) const {
  const std::uint64_t index = frame.raw() - first_.raw();
  if (frame < first_ || index >= memory_.size() / page_size) std::abort();
  return memory_.base() + index * page_size;
}

void Arena::store(Mfn frame, std::size_t slot, std::uint64_t value) const {
  std::memcpy(bytes(frame) + slot * sizeof(value), &value, sizeof(value));
}

std::uint64_t Arena::load(Mfn frame, std::size_t slot) const {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes(frame) + slot * sizeof(value), sizeof(value));
  return value;
}

}  // namespace pinfold::vmm
