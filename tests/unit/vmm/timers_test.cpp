// A vCPU's two timers, and the alarm that they keep set.
#include "vmm/cpu/timers.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pinfold::vmm {
namespace {

class FakeAlarm final : public Alarm {
 public:
  void set(std::uint64_t in_ns) override { settings.push_back(in_ns); }
  [[nodiscard]] std::uint64_t last() const { return settings.empty() ? ~0ULL : settings.back(); }
  std::vector<std::uint64_t> settings;
};

constexpr std::uint64_t first_period = 10'000'000;  // a new vCPU's

struct Scene {
  FakeAlarm alarm;
  VcpuTimers timers{alarm};
};

struct OneShotOnly : Scene {
  OneShotOnly() { timers.set_period(0, 0); }
};

TEST(VcpuTimers, a_new_vcpu_ticks_a_hundred_times_a_second) {
  Scene s;
  s.timers.arm(0);
  EXPECT_EQ(s.alarm.last(), first_period);
  EXPECT_FALSE(s.timers.check(first_period - 1));
  EXPECT_TRUE(s.timers.check(first_period));
  EXPECT_FALSE(s.timers.check(2 * first_period - 1));
  EXPECT_TRUE(s.timers.check(2 * first_period));
}

TEST(VcpuTimers, one_shot_fires_once_at_its_deadline) {
  OneShotOnly s;
  s.timers.set_one_shot(500, 100);
  EXPECT_EQ(s.alarm.last(), 400U);
  EXPECT_FALSE(s.timers.check(499));
  EXPECT_TRUE(s.timers.check(500));
  EXPECT_EQ(s.timers.next_deadline(), 0U);
  EXPECT_EQ(s.alarm.last(), 0U) << "nothing is armed";
  EXPECT_FALSE(s.timers.check(10'000));
}

TEST(VcpuTimers, a_deadline_that_is_over_goes_off_at_once) {
  OneShotOnly s;
  s.timers.set_one_shot(50, 100);
  EXPECT_EQ(s.alarm.last(), 1U) << "0 would disarm it";
  EXPECT_TRUE(s.timers.check(100));
}

TEST(VcpuTimers, zero_disarms) {
  OneShotOnly s;
  s.timers.set_one_shot(500, 100);
  s.timers.set_one_shot(0, 100);
  EXPECT_EQ(s.alarm.last(), 0U);
  EXPECT_FALSE(s.timers.check(1000));
}

TEST(VcpuTimers, the_alarm_is_set_to_the_earlier_of_the_two) {
  Scene s;
  s.timers.set_period(1000, 0);
  s.timers.set_one_shot(700, 0);
  EXPECT_EQ(s.timers.next_deadline(), 700U);
  EXPECT_EQ(s.alarm.last(), 700U);
  s.timers.set_one_shot(1300, 0);
  EXPECT_EQ(s.timers.next_deadline(), 1000U);
  EXPECT_TRUE(s.timers.check(1000));
  EXPECT_EQ(s.timers.next_deadline(), 1300U) << "the tick leaves the one shot armed";
  EXPECT_EQ(s.alarm.last(), 300U);
}

TEST(VcpuTimers, ticks_that_were_missed_are_not_made_up) {
  Scene s;
  s.timers.set_period(1000, 0);
  EXPECT_TRUE(s.timers.check(5500));
  EXPECT_FALSE(s.timers.check(5600));
  EXPECT_EQ(s.timers.next_deadline(), 6500U);
}

TEST(VcpuTimers, a_tick_does_not_wake_a_vcpu_that_sleeps_and_is_due_when_it_runs_again) {
  Scene s;
  s.timers.set_period(1000, 0);
  s.timers.pause_tick(100);
  EXPECT_EQ(s.timers.next_deadline(), 0U);
  EXPECT_EQ(s.alarm.last(), 0U);
  EXPECT_FALSE(s.timers.check(1500));
  EXPECT_TRUE(s.timers.resume_tick(1600));
  EXPECT_TRUE(s.timers.check(1600));
}

TEST(VcpuTimers, a_short_sleep_leaves_the_tick_where_it_was) {
  Scene s;
  s.timers.set_period(1000, 0);
  s.timers.pause_tick(100);
  EXPECT_FALSE(s.timers.resume_tick(300));
  EXPECT_EQ(s.alarm.last(), 700U);
}

TEST(VcpuTimers, a_paused_tick_leaves_the_one_shot_armed) {
  Scene s;
  s.timers.set_one_shot(2'000, 0);
  s.timers.pause_tick(100);
  EXPECT_EQ(s.alarm.last(), 1900U);
  EXPECT_TRUE(s.timers.check(2'000));
}

TEST(VcpuTimers, a_running_vcpu_is_called_out_for_a_refresh) {
  OneShotOnly s;
  s.timers.set_refresh(1000, 100);
  EXPECT_EQ(s.alarm.last(), 900U);
  EXPECT_EQ(s.timers.next_deadline(), 0U) << "it is no timer of the guest's";
  s.timers.set_one_shot(700, 200);
  EXPECT_EQ(s.alarm.last(), 500U) << "the earlier one";
  EXPECT_TRUE(s.timers.check(700));
  EXPECT_EQ(s.alarm.last(), 300U);
  s.timers.note_alarm();
  EXPECT_FALSE(s.timers.check(999)) << "it is no event either";
  EXPECT_EQ(s.alarm.last(), 1U) << "too early: once more";
}

TEST(VcpuTimers, a_sleeping_vcpu_is_not_called_for_a_refresh) {
  OneShotOnly s;
  s.timers.set_refresh(1000, 100);
  s.timers.pause_tick(200);
  s.timers.note_alarm();
  EXPECT_FALSE(s.timers.check(1000));
  EXPECT_EQ(s.alarm.last(), 0U);
  EXPECT_FALSE(s.timers.resume_tick(5000));
  EXPECT_EQ(s.alarm.last(), 1U) << "but when it runs again";
  const std::size_t before = s.alarm.settings.size();
  s.timers.pause_tick(5001);
  EXPECT_FALSE(s.timers.resume_tick(5002));
  EXPECT_EQ(s.alarm.settings.size(), before) << "a short sleep costs no system call";
}

// The host's clock and the TSC that system time is made of differ a little.
TEST(VcpuTimers, an_alarm_that_went_off_too_early_is_set_again) {
  OneShotOnly s;
  s.timers.set_one_shot(500, 100);
  const std::size_t before = s.alarm.settings.size();
  EXPECT_FALSE(s.timers.check(200));
  EXPECT_EQ(s.alarm.settings.size(), before) << "it has not gone off";
  s.timers.note_alarm();
  EXPECT_FALSE(s.timers.check(498));
  EXPECT_EQ(s.alarm.last(), 2U);
  EXPECT_FALSE(s.timers.check(499));
  EXPECT_EQ(s.alarm.settings.size(), before + 1) << "once";
}

}  // namespace
}  // namespace pinfold::vmm
