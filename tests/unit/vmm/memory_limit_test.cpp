#include "vmm/memory/memory_limit.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

class MemoryLimits : public testing::Test {
 protected:
  pvmmu::DomainMutex mutex;
  pvmmu::DomainLock lock{mutex};
};

TEST_F(MemoryLimits, a_guest_gets_up_to_its_limit) {
  const MemoryLimit limit(100, 200);
  EXPECT_TRUE(limit.allows(99, 1));
  EXPECT_TRUE(limit.allows(0, 100));
  EXPECT_FALSE(limit.allows(99, 2));
  EXPECT_FALSE(limit.allows(100, 1));
  EXPECT_FALSE(limit.allows(1, ~0ULL));
}

TEST_F(MemoryLimits, it_moves_up_to_the_most_and_no_further) {
  MemoryLimit limit(100, 200);
  EXPECT_TRUE(limit.set(lock, 200));
  EXPECT_TRUE(limit.allows(199, 1));
  EXPECT_FALSE(limit.set(lock, 201));
  EXPECT_EQ(limit.frames(), 200U);
}

TEST_F(MemoryLimits, below_what_the_guest_has_it_gets_nothing) {
  MemoryLimit limit(100, 200);
  EXPECT_TRUE(limit.set(lock, 50));
  EXPECT_FALSE(limit.allows(100, 1));
  EXPECT_FALSE(limit.allows(50, 1));
  EXPECT_TRUE(limit.allows(49, 1));
}

TEST_F(MemoryLimits, a_most_that_is_less_than_the_start_means_the_start) {
  const MemoryLimit limit(100, 0);
  EXPECT_EQ(limit.most(), 100U);
}

}  // namespace
}  // namespace pinfold::vmm
