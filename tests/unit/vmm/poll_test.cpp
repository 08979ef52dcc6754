// A vCPU counts among the domain's pollers once, and not when it is awake.
#include <gtest/gtest.h>

#include "vmm/cpu/poll.hpp"

namespace pinfold::vmm {
namespace {

TEST(Poll, is_one_poller_however_often_it_is_asked_for) {
  std::atomic<std::uint32_t> pollers{0};
  Poll one(pollers), other(pollers);
  one.begin({Port(3)}, 0);
  one.begin({Port(4), Port(5)}, 77);  // in the same multicall
  EXPECT_EQ(pollers, 1U);
  EXPECT_TRUE(one.is_active());
  EXPECT_EQ(one.ports(), (std::vector<Port>{Port(4), Port(5)})) << "the last one counts";
  EXPECT_EQ(one.until_ns(), 77U);
  other.begin({}, 1);
  EXPECT_EQ(pollers, 2U);
  one.end();
  EXPECT_FALSE(one.is_active());
  EXPECT_EQ(pollers, 1U);
  one.end();  // at the end of its thread
  EXPECT_EQ(pollers, 1U);
  other.end();
  EXPECT_EQ(pollers, 0U);
}

}  // namespace
}  // namespace pinfold::vmm
