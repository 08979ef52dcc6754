#include "vmm/memory/mapping_budget.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

using Share = MappingBudget::Share;

/// All that it can have. How much that was.
std::uint64_t exhaust(Share& share) {
  while (share.change(1)) {
  }
  return share.used();
}

TEST(MappingBudget, keeps_some_back_for_the_monitor) {
  constexpr std::uint64_t limit = 65530;
  MappingBudget budget(limit, 16);
  EXPECT_EQ(budget.most() + 15 * budget.guaranteed(), limit - 8192);
  EXPECT_GT(budget.most(), 40000U);
  EXPECT_GT(budget.guaranteed(), 800U);
  EXPECT_EQ(MappingBudget(400, 1).most(), 300U) << "of a small limit, a quarter";
  EXPECT_EQ(MappingBudget(0, 16).most(), budget.most()) << "not known: the usual one";
}

TEST(MappingBudget, a_view_that_takes_all_leaves_the_others_what_is_guaranteed) {
  MappingBudget budget(65530, 3);
  Share first(budget), second(budget), third(budget);
  ASSERT_TRUE(third.change(10));
  EXPECT_EQ(exhaust(first), budget.most());
  EXPECT_EQ(exhaust(second), budget.guaranteed());
  EXPECT_EQ(exhaust(third), budget.guaranteed());
  EXPECT_FALSE(first.change(1));
}

TEST(MappingBudget, a_change_that_is_too_large_changes_nothing) {
  MappingBudget budget(65530, 1);
  Share share(budget);
  ASSERT_TRUE(share.change(5));
  EXPECT_FALSE(share.change(static_cast<std::int64_t>(budget.most()) - 4));
  EXPECT_EQ(share.used(), 5U);
  EXPECT_TRUE(share.change(static_cast<std::int64_t>(budget.most()) - 5));
  EXPECT_FALSE(share.change(1));
}

TEST(MappingBudget, what_is_given_back_is_the_others) {
  MappingBudget budget(65530, 2);
  Share other(budget);
  {
    Share share(budget);
    EXPECT_EQ(exhaust(share), budget.most());
    ASSERT_TRUE(share.change(-20000));
    // All but a few, which the view keeps for its next changes.
    EXPECT_GT(exhaust(other), budget.guaranteed() + 19000);
    ASSERT_TRUE(share.change(-static_cast<std::int64_t>(share.used())));
  }
  EXPECT_EQ(exhaust(other), budget.most());
}

}  // namespace
}  // namespace pinfold::vmm
