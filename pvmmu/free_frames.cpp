#include "pvmmu/free_frames.hpp"

#include <bit>

namespace pinfold::pvmmu {
namespace {

constexpr std::uint64_t words_of(std::uint64_t bits) { return (bits + 63) / 64; }

/// A bound for the numbers of an order's blocks, including the neighbour of the last one.
constexpr std::uint64_t bound_of(std::uint64_t frames, unsigned order) { return (frames >> order) + 2; }

/// How many words the sets of all orders take.
std::uint64_t words_for(std::uint64_t frames) {
  std::uint64_t words = 0;
  for (unsigned order = 0; order <= FreeFrames::max_order; ++order)
    words += BitTree::words_for(bound_of(frames, order));
  return words;
}

}  // namespace

std::uint64_t BitTree::words_for(std::uint64_t bound) {
  std::uint64_t words = words_of(bound), sum = words;
  while (words > 1) sum += words = words_of(words);
  return sum;
}

BitTree::BitTree(std::uint64_t* words, std::uint64_t bound) {
  for (std::uint64_t here = words_of(bound);; here = words_of(here)) {
    levels_[depth_++] = words;
    words += here;
    if (here == 1) break;
  }
}

void BitTree::insert(std::uint64_t n) {
  for (std::size_t level = 0; level < depth_; ++level, n /= 64) {
    std::uint64_t& word = levels_[level][n / 64];
    const bool known_above = word != 0;
    word |= 1ULL << (n % 64);
    if (known_above) return;
  }
}

void BitTree::erase(std::uint64_t n) {
  for (std::size_t level = 0; level < depth_; ++level, n /= 64) {
    std::uint64_t& word = levels_[level][n / 64];
    word &= ~(1ULL << (n % 64));
    if (word != 0) return;
  }
}

std::optional<std::uint64_t> BitTree::lowest() const {
  std::uint64_t at = 0;
  for (std::size_t level = depth_; level-- > 0;) {
    const std::uint64_t word = levels_[level][at];
    if (word == 0) return std::nullopt;  // only at the top
    at = at * 64 + static_cast<std::uint64_t>(std::countr_zero(word));
  }
  return at;
}

FreeFrames::FreeFrames(std::uint64_t frames) : words_(words_for(frames), words_for(frames)) {
  std::uint64_t* next = &words_[0];
  for (unsigned order = 0; order <= max_order; ++order) {
    blocks_[order] = BitTree(next, bound_of(frames, order));
    next += BitTree::words_for(bound_of(frames, order));
  }
}

void FreeFrames::add(Mfn mfn) {
  std::uint64_t block = mfn.raw();
  unsigned order = 0;
  for (; order < max_order && blocks_[order].contains(block ^ 1); ++order, block >>= 1)
    erase(order, block ^ 1);
  insert(order, block);
  ++count_;
}

std::optional<Mfn> FreeFrames::take(unsigned order) {
  for (unsigned from = order; from <= max_order; ++from) {
    steps_ += blocks_[from].depth();
    auto block = blocks_[from].lowest();
    if (!block) continue;
    erase(from, *block);
    while (from > order) {
      *block <<= 1;
      insert(--from, *block ^ 1);
    }
    count_ -= 1ULL << order;
    return Mfn(*block << order);
  }
  return std::nullopt;
}

void FreeFrames::insert(unsigned order, std::uint64_t block) {
  steps_ += blocks_[order].depth();
  blocks_[order].insert(block);
}

void FreeFrames::erase(unsigned order, std::uint64_t block) {
  steps_ += blocks_[order].depth();
  blocks_[order].erase(block);
}

}  // namespace pinfold::pvmmu
