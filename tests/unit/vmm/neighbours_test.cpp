// Visits of one domain at another: who is found, and who waits for whom.
#include "vmm/for_devices/neighbours.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

namespace pinfold::vmm::test {
namespace {

constexpr DomId one(1), two(2);

TEST(Neighbours, are_found_from_join_to_leave) {
  Neighbours<int> all;
  int part = 7, other = 8;
  EXPECT_FALSE(all.visit(one));
  all.join(one, part);
  all.join(two, other);
  {
    const auto visit = all.visit(one);
    ASSERT_TRUE(visit);
    EXPECT_EQ(*visit, 7);
    EXPECT_EQ(*all.visit(two), 8);
  }
  all.leave(one);
  all.leave(one);
  EXPECT_FALSE(all.visit(one));
  EXPECT_TRUE(all.visit(two));
  all.join(one, other);
  EXPECT_TRUE(all.visit(one));
}

TEST(Neighbours, a_domain_that_leaves_waits_for_visits_and_is_not_found_any_more) {
  Neighbours<int> all;
  int part = 7;
  all.join(one, part);
  std::atomic<bool> left = false;
  std::thread leaver;
  {
    const auto first = all.visit(one), second = all.visit(one);
    leaver = std::thread([&] {
      all.leave(one);
      left = true;
    });
    while (all.visit(one)) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(left);
    EXPECT_EQ(*second, 7);
  }
  leaver.join();
  EXPECT_TRUE(left);
}

TEST(Neighbours, a_visit_that_was_moved_ends_once) {
  Neighbours<int> all;
  int part = 7;
  all.join(one, part);
  {
    auto visit = all.visit(one);
    const auto moved = std::move(visit);
    EXPECT_TRUE(moved);
    EXPECT_FALSE(visit);  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move): that is the point
  }
  all.leave(one);
}

}  // namespace
}  // namespace pinfold::vmm::test
