// The watchdog's timers, and when its thread is created.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "vmm/watchdog.hpp"

namespace pinfold::vmm {
namespace {

std::ptrdiff_t threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

TEST(Watchdog, no_request_of_the_guests_starts_a_thread) {
  Watchdog watchdog([] {});
  ASSERT_TRUE(watchdog.start());
  const auto before = threads();
  const auto timer = watchdog.request(0, 1000);
  ASSERT_TRUE(timer.has_value());
  EXPECT_EQ(*timer, 1U);
  EXPECT_EQ(threads(), before);
  Watchdog not_started([] {});
  EXPECT_TRUE(not_started.request(0, 1000).has_value());
  EXPECT_EQ(threads(), before);
}

TEST(Watchdog, has_two_timers_and_knows_no_other) {
  Watchdog watchdog([] {});
  EXPECT_EQ(watchdog.request(0, 0), tl::unexpected(Errno::einval));
  EXPECT_EQ(watchdog.request(1, 5), tl::unexpected(Errno::einval));
  EXPECT_EQ(watchdog.request(0, 100), 1U);
  EXPECT_EQ(watchdog.request(0, 100), 2U);
  EXPECT_EQ(watchdog.request(0, 100), tl::unexpected(Errno::enospc));
  EXPECT_EQ(watchdog.request(3, 100), tl::unexpected(Errno::einval));
  EXPECT_EQ(watchdog.request(2, 0), 0U);
  EXPECT_EQ(watchdog.request(0, 100), 2U);
}

TEST(Watchdog, a_timer_that_is_not_set_again_ends_the_guest_once) {
  std::atomic<int> fired{0};
  {
    Watchdog watchdog([&] {
      ++fired;
      fired.notify_all();
    });
    ASSERT_TRUE(watchdog.start());
    ASSERT_TRUE(watchdog.request(0, 1).has_value());
    fired.wait(0);
  }
  EXPECT_EQ(fired, 1);
}

}  // namespace
}  // namespace pinfold::vmm
