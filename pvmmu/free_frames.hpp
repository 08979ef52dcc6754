// Which frames are free, in blocks of powers of two, so that an extent is found without a search.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "pvmmu/sparse_array.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// A set of numbers below a bound: one bit for each number, and in the levels above one bit for each word of
/// the level below that is not zero, up to a single word. The words belong to the caller and are zero at
/// first. Each operation reads one word in each level: six for the frames of the largest machine.
class BitTree {
 public:
  static constexpr std::size_t most_levels = 8;
  /// How many words a set of numbers below `bound` takes.
  [[nodiscard]] static std::uint64_t words_for(std::uint64_t bound);

  BitTree() = default;
  BitTree(std::uint64_t* words, std::uint64_t bound);

  [[nodiscard]] bool contains(std::uint64_t n) const { return (levels_[0][n / 64] >> (n % 64) & 1) != 0; }
  void insert(std::uint64_t n);
  void erase(std::uint64_t n);
  /// The lowest member; nullopt of an empty set.
  [[nodiscard]] std::optional<std::uint64_t> lowest() const;
  /// The number of levels: how many words an operation reads at most.
  [[nodiscard]] std::size_t depth() const { return depth_; }

 private:
  std::array<std::uint64_t*, most_levels> levels_{};
  std::size_t depth_ = 0;
};

/// The free frames of a machine. Neighbours that are free together are kept as one block, of up to
/// 2^max_order frames, at a multiple of its size; so a block exists if and only if all its frames are free.
///
/// It takes a little more than two bits for each frame: 17 MiB for a machine of 256 GiB, of which only used
/// parts are backed by memory. Not thread-safe.
class FreeFrames {
 public:
  static constexpr unsigned max_order = 9;  ///< The largest extent that a domU may ask for: 2 MiB.

  explicit FreeFrames(std::uint64_t frames);

  /// Adds a frame, which must not be in it.
  void add(Mfn mfn);
  /// Takes 2^order adjacent frames, the first at a multiple of that number, from the lowest of the smallest
  /// blocks that are large enough. nullopt if there is none.
  [[nodiscard]] std::optional<Mfn> take(unsigned order);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// How many words all operations have read so far: for tests.
  [[nodiscard]] std::uint64_t steps() const { return steps_; }

 private:
  void insert(unsigned order, std::uint64_t block);
  void erase(unsigned order, std::uint64_t block);

  SparseArray<std::uint64_t> words_;
  std::array<BitTree, max_order + 1> blocks_;  ///< By order: the numbers of free blocks.
  std::uint64_t count_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace pinfold::pvmmu
