#include "vmm/mmu_outcomes.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

TEST(MmuOutcomes, an_audit_is_due_after_each_interval) {
  MmuOutcomes never(0), third(3);
  for (int round = 0; round < 4; ++round) {
    EXPECT_FALSE(third.count());
    EXPECT_FALSE(third.count());
    EXPECT_TRUE(third.count());
    EXPECT_FALSE(never.count());
  }
}

TEST(MmuOutcomes, only_refusals_in_a_row_end_a_guest) {
  MmuOutcomes outcomes(0);
  for (std::uint64_t i = 1; i < MmuOutcomes::refusal_limit; ++i) ASSERT_FALSE(outcomes.note(false));
  EXPECT_FALSE(outcomes.note(true));
  for (std::uint64_t i = 1; i < MmuOutcomes::refusal_limit; ++i) ASSERT_FALSE(outcomes.note(false));
  EXPECT_TRUE(outcomes.note(false));
  EXPECT_EQ(outcomes.refusals_in_a_row(), MmuOutcomes::refusal_limit);
}

}  // namespace
}  // namespace pinfold::vmm
