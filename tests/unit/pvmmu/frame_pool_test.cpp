// The pool of free frames is compared with a slow model of it; and the cost of finding an extent is limited,
// counted in words that are read.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "pvmmu/frame_table.hpp"

namespace pinfold::pvmmu {
namespace {

/// What an operation may cost: for each of ten orders one read and two changes, of at most a few levels each.
constexpr std::uint64_t most_steps = std::uint64_t{3} * (FreeFrames::max_order + 1) * 6;

TEST(BitTree, finds_the_lowest_member_of_any_set) {
  for (const std::uint64_t bound : {1U, 64U, 65U, 4096U, 4097U, 300'000U}) {
    std::vector<std::uint64_t> words(BitTree::words_for(bound));
    BitTree tree(words.data(), bound);
    std::set<std::uint64_t> model;
    std::mt19937_64 random(bound);
    EXPECT_EQ(tree.lowest(), std::nullopt);
    for (int i = 0; i < 4000; ++i) {
      // More frames are taken than given back, the lowest first: words become empty.
      const bool comes = model.empty() || random() % 5 < 2;
      const std::uint64_t n = comes || random() % 2 == 0 ? random() % bound : *model.begin();
      if (comes) {
        tree.insert(n);
        model.insert(n);
      } else {
        tree.erase(n);
        model.erase(n);
      }
      EXPECT_EQ(tree.contains(n), model.contains(n));
      ASSERT_EQ(tree.lowest(), model.empty() ? std::nullopt : std::optional(*model.begin()));
    }
  }
}

/// Which frames are free. An extent is available if all frames of any block of its size are.
class Model {
 public:
  explicit Model(std::uint64_t frames) : free_(frames) {}
  void add(std::uint64_t frame) { free_[frame] = true; }
  [[nodiscard]] bool is_free(std::uint64_t first, std::uint64_t count) const {
    for (std::uint64_t i = 0; i < count; ++i)
      if (first + i >= free_.size() || !free_[first + i]) return false;
    return true;
  }
  [[nodiscard]] bool has(std::uint64_t count) const {
    for (std::uint64_t first = 0; first + count <= free_.size(); first += count)
      if (is_free(first, count)) return true;
    return false;
  }
  void take(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) free_[first + i] = false;
  }
  [[nodiscard]] std::uint64_t count() const {
    return static_cast<std::uint64_t>(std::count(free_.begin(), free_.end(), true));
  }

 private:
  std::vector<bool> free_;
};

TEST(FreeFrames, an_extent_is_found_exactly_if_there_is_one) {
  constexpr std::uint64_t frames = 3000;  // no power of two
  for (unsigned seed = 0; seed < 8; ++seed) {
    FreeFrames pool(frames);
    Model model(frames);
    std::mt19937_64 random(seed);
    for (int i = 0; i < 6000; ++i) {
      const std::uint64_t before = pool.steps();
      if (const std::uint64_t frame = random() % frames; i < 2500 || random() % 2 == 0) {
        if (model.is_free(frame, 1)) continue;
        pool.add(Mfn(frame));
        model.add(frame);
      } else {
        // Mostly small extents, which leave holes.
        const auto order = static_cast<unsigned>(random() % 4 == 0 ? random() % 10 : random() % 2);
        const auto first = pool.take(order);
        ASSERT_EQ(first.has_value(), model.has(1ULL << order)) << "order " << order << ", seed " << seed;
        if (first) {
          EXPECT_EQ(first->raw() % (1ULL << order), 0U);
          ASSERT_TRUE(model.is_free(first->raw(), 1ULL << order)) << "seed " << seed;
          model.take(first->raw(), 1ULL << order);
        }
      }
      ASSERT_LE(pool.steps() - before, most_steps);
    }
    EXPECT_EQ(pool.count(), model.count());
  }
}

TEST(FreeFrames, frames_come_out_of_the_smallest_block_that_has_them) {
  FreeFrames pool(64);
  for (std::uint64_t i = 32; i < 48; ++i) pool.add(Mfn(i));
  pool.add(Mfn(50));
  EXPECT_EQ(pool.take(0), Mfn(50)) << "the large block stays whole";
  EXPECT_EQ(pool.take(4), Mfn(32));
  EXPECT_EQ(pool.take(0), std::nullopt);
}

TEST(FrameTable, an_extent_is_found_in_steps_that_the_machines_size_does_not_change) {
  std::array<std::uint64_t, 2> costs{};
  for (std::size_t large = 0; large < 2; ++large) {
    const std::uint64_t frames = large != 0 ? 1 << 20 : 1 << 14;
    FrameTable table(frames);
    const DomId owner(1);
    while (table.take(owner)) {
    }
    // Every other frame is free, and one extent far up.
    for (std::uint64_t i = 2; i < frames - 1024; i += 2) table.give_back(Mfn(i));
    for (std::uint64_t i = frames - 1024; i < frames - 512; ++i) table.give_back(Mfn(i));
    const std::uint64_t before = table.pool_steps();
    const auto found = table.take(owner, 512, 512);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->first, Mfn(frames - 1024));
    EXPECT_TRUE(found->used_before);
    EXPECT_FALSE(table.take(owner, 512, 512)) << "there is no second one";
    costs[large] = table.pool_steps() - before;
  }
  EXPECT_LE(costs[1], 2 * most_steps);
  EXPECT_LE(costs[1], costs[0] * 2);
}

TEST(FrameTable, what_an_extent_does_not_need_of_its_block_stays_free) {
  FrameTable table(64);
  const DomId owner(1);
  while (table.take(owner)) {
  }
  for (std::uint64_t i = 16; i < 32; ++i) table.give_back(Mfn(i));
  const auto found = table.take(owner, 5, 2);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->first, Mfn(16));
  EXPECT_EQ(table.free_frames(), 11U);
  EXPECT_EQ(table.owner_tag(Mfn(20)), FrameTable::tag_of(owner));
  EXPECT_EQ(table.owner_tag(Mfn(21)), 0U);
  for (int i = 0; i < 11; ++i) EXPECT_TRUE(table.take(owner));
  EXPECT_FALSE(table.take(owner));
}

TEST(FrameTable, a_request_that_makes_no_sense_finds_nothing) {
  FrameTable table(64);
  const DomId owner(1);
  for (const auto& [count, alignment] :
       {std::pair{0ULL, 1ULL}, {1, 0}, {~0ULL, 1}, {1, ~0ULL}, {~0ULL, ~0ULL}, {64, 1}})
    EXPECT_FALSE(table.take(owner, count, alignment)) << count << ", " << alignment;
  EXPECT_EQ(table.free_frames(), 63U);
  while (table.take(owner)) {
  }
  for (std::uint64_t i = 1; i < 64; ++i) table.give_back(Mfn(i));
  EXPECT_FALSE(table.take(owner, 3, 3)) << "of frames that were used, extents lie at powers of two";
  EXPECT_TRUE(table.take(owner, 3, 4));
}

}  // namespace
}  // namespace pinfold::pvmmu
