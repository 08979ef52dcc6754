// Frames that no domain gets.
#include <gtest/gtest.h>

#include <set>

#include "pvmmu/frame_table.hpp"

namespace pinfold::pvmmu {
namespace {

constexpr DomId domain{1};
constexpr FrameTable::Range gap{Mfn(100), 4};

bool touches_gap(Mfn first, std::uint64_t count) {
  return first < gap.end() && gap.first < first.plus(count);
}

TEST(WithheldFrames, are_given_to_nobody_one_by_one) {
  FrameTable table(200);
  table.withhold(gap);
  EXPECT_EQ(table.free_frames(), 199U - gap.count);
  std::set<std::uint64_t> taken;
  while (const auto frame = table.take(domain)) taken.insert(frame->first.raw());
  EXPECT_EQ(taken.size(), 199U - gap.count);
  for (std::uint64_t i = 0; i < gap.count; ++i) EXPECT_EQ(taken.count(gap.first.raw() + i), 0U);
  EXPECT_EQ(table.free_frames(), 0U);
  for (const std::uint64_t frame : taken) table.give_back(Mfn(frame));
  EXPECT_EQ(table.free_frames(), taken.size());
}

TEST(WithheldFrames, lie_in_no_extent_whatever_its_size_and_place) {
  for (const std::uint64_t alignment : {1ULL, 2ULL, 8ULL, 16ULL})
    for (const std::uint64_t count : {1ULL, 3ULL, 8ULL, 16ULL}) {
      FrameTable table(200);
      table.withhold(gap);
      std::uint64_t free = table.free_frames();
      std::vector<FrameTable::Taken> all;
      for (int round = 0; round < 2; ++round) {
        while (const auto taken = table.take(domain, count, alignment)) {
          EXPECT_EQ(taken->first.raw() % alignment, 0U);
          EXPECT_FALSE(touches_gap(taken->first, count)) << taken->first.raw();
          all.push_back(*taken);
          EXPECT_EQ(table.free_frames(), free -= count);
        }
        for (const auto& taken : all)
          for (std::uint64_t i = 0; i < count; ++i) table.give_back(taken.first.plus(i));
        free += all.size() * count;
        all.clear();
      }
    }
}

TEST(WithheldFrames, an_extent_behind_them_leaves_those_before_them_free) {
  FrameTable table(400);
  table.withhold(gap);
  EXPECT_EQ(table.take(domain, 98)->first, Mfn(1));
  EXPECT_EQ(table.take(domain, 200)->first, gap.end());
  EXPECT_EQ(table.take(domain)->first, Mfn(99));
  EXPECT_EQ(table.take(domain)->first, gap.end().plus(200));
}

TEST(WithheldFrames, are_none_unless_told) {
  FrameTable table(200);
  EXPECT_EQ(table.take(domain, 199)->first, Mfn(1));
}

TEST(WithheldFrames, stay_nobodys_when_the_machine_grows_over_them) {
  FrameTable table(50, 200);
  table.withhold(gap);
  EXPECT_EQ(table.withheld().count, 0U) << "the machine has none of them yet";
  EXPECT_EQ(table.free_frames(), 49U);
  EXPECT_EQ(table.unused_extent(), 49U);
  EXPECT_EQ(table.take(domain, 49)->first, Mfn(1));
  EXPECT_FALSE(table.take(domain));

  ASSERT_TRUE(table.make_room(102));
  EXPECT_FALSE(table.take(domain)) << "room is not frames";
  table.grow(102);
  EXPECT_EQ(table.withheld().count, 2U);
  EXPECT_EQ(table.free_frames(), 50U);
  EXPECT_EQ(table.unused_extent(), 50U);
  EXPECT_EQ(table.take(domain, 50)->first, Mfn(50));
  EXPECT_EQ(table.unused_extent(), 0U);
  EXPECT_FALSE(table.take(domain));

  ASSERT_TRUE(table.make_room(200));
  table.grow(200);
  EXPECT_EQ(table.withheld().count, gap.count);
  EXPECT_EQ(table.free_frames(), 96U);
  EXPECT_EQ(table.unused_extent(), 96U);
  EXPECT_EQ(table.take(domain, 96)->first, gap.end());
  EXPECT_EQ(table.free_frames(), 0U);
}

}  // namespace
}  // namespace pinfold::pvmmu
