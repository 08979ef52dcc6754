// Calling a vCPU's thread: out of its sleep without a signal, out of the guest with one; no call is lost.
#include "vmm/cpu/wakeup.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace pinfold::vmm {
namespace {

std::atomic<int> handled{0};
void on_signal(int) { ++handled; }

struct Scene {
  Scene() {
    handled = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;
    ::sigaction(SIGUSR1, &action, &before);
    wakeup.begin_thread();
  }
  ~Scene() { ::sigaction(SIGUSR1, &before, nullptr); }

  std::atomic<std::uint64_t> sent{0};
  Wakeup wakeup{sent};
  struct sigaction before {};
};

TEST(Wakeup, a_vcpu_that_is_not_near_the_guest_gets_no_signal) {
  Scene s;
  s.wakeup.kick();
  EXPECT_TRUE(s.wakeup.is_kicked());
  EXPECT_EQ(s.sent, 0U);
  EXPECT_EQ(handled, 0);
}

TEST(Wakeup, a_vcpu_in_the_guest_gets_a_signal_for_each_kick) {
  Scene s;
  s.wakeup.accept_signals();
  s.wakeup.kick();
  s.wakeup.kick();
  EXPECT_EQ(s.sent, 2U);
  EXPECT_GE(handled, 1);
  s.wakeup.refuse_signals();
  s.wakeup.kick();
  EXPECT_EQ(s.sent, 2U);
}

TEST(Wakeup, after_its_end_a_thread_gets_no_signal) {
  Scene s;
  s.wakeup.accept_signals();
  s.wakeup.end_thread();
  s.wakeup.kick();
  EXPECT_EQ(s.sent, 0U);
}

TEST(Wakeup, a_kick_stays_until_the_vcpu_clears_it) {
  Scene s;
  s.wakeup.kick();
  s.wakeup.sleep(std::nullopt);  // returns at once
  EXPECT_TRUE(s.wakeup.is_kicked());
  s.wakeup.clear();
  EXPECT_FALSE(s.wakeup.is_kicked());
  s.wakeup.look_again();
  EXPECT_TRUE(s.wakeup.is_kicked());
  s.wakeup.clear();
  s.wakeup.note_signal();
  EXPECT_TRUE(s.wakeup.is_kicked());
}

TEST(Wakeup, a_sleep_ends_at_its_limit) {
  Scene s;
  const auto before = std::chrono::steady_clock::now();
  s.wakeup.sleep(2'000'000);
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(2));
  s.wakeup.sleep(0);
  EXPECT_FALSE(s.wakeup.is_kicked());
}

TEST(Wakeup, any_limit_of_64_bits_is_a_sleep) {
  Scene s;
  std::thread other([&] { s.wakeup.kick(); });
  s.wakeup.sleep(~0ULL);
  EXPECT_TRUE(s.wakeup.is_kicked());
  other.join();
}

// Each turn is given by a flag and a kick, as an event is; the vCPU clears, looks, and sleeps.
TEST(Wakeup, no_kick_is_lost) {
  Scene s;
  constexpr int turns = 20'000;
  std::atomic<int> given{0}, taken{0};
  std::thread other([&] {
    for (int i = 1; i <= turns; ++i) {
      given = i;
      s.wakeup.kick();
      while (taken != i) std::this_thread::yield();
    }
  });
  for (int i = 1; i <= turns; ++i) {
    for (;;) {
      s.wakeup.clear();
      if (given == i) break;
      s.wakeup.sleep(std::nullopt);
    }
    taken = i;
  }
  other.join();
  EXPECT_EQ(s.sent, 0U);
}

}  // namespace
}  // namespace pinfold::vmm
