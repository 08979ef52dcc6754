// System time while the host runs and sleeps. During a sleep its TSC goes on, stands still or restarts at 0.
#include "vmm/clock.hpp"

#include <gtest/gtest.h>

#include <string>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t millisecond = 1'000'000, second = 1'000'000'000, hour = 3600 * second;
constexpr std::uint32_t khz = 2'000'000;  // two ticks a nanosecond

class FakeHost final : public HostClock {
 public:
  std::uint64_t tsc() const override { return tsc_; }
  std::uint64_t awake() const override { return awake_; }
  std::uint64_t asleep() const override { return asleep_ + look_error_; }
  std::uint64_t wall() const override { return wall_; }

  /// The TSC may be faster than a clock that the host adjusts.
  void run(std::uint64_t ns, std::uint64_t ppm_slow = 0) {
    tsc_ += 2 * ns;
    awake_ += ns - ns / 1'000'000 * ppm_slow;
    wall_ += ns;
  }
  enum class Tsc { goes_on, stands_still, starts_anew };
  void sleep(std::uint64_t ns, Tsc tsc) {
    asleep_ += ns;
    wall_ += ns;
    if (tsc == Tsc::goes_on) tsc_ += 2 * ns;
    if (tsc == Tsc::starts_anew) tsc_ = 1000;
  }
  void err_by(std::uint64_t ns) { look_error_ = ns; }

 private:
  std::uint64_t tsc_ = 123'456'789'000, awake_ = 5 * hour, asleep_ = 77 * second,
                wall_ = 1'700'000'000 * second;
  std::uint64_t look_error_ = 0;
};

/// The time that the guest computes from its vcpu_time_info.
std::uint64_t guests_time(const Clock& clock, std::uint64_t guest_tsc) {
  const TimeStamp stamp = clock.stamp();
  return stamp.time + clock.scale().to_ns(guest_tsc - stamp.tsc);
}

class Sleep : public testing::TestWithParam<FakeHost::Tsc> {
 protected:
  FakeHost host_;
  Clock clock_{khz, 0, host_};
};

TEST(Clock, the_guests_wall_clock_may_be_ahead_of_the_hosts_or_behind) {
  FakeHost host;
  Clock clock(khz, 0, host);
  const std::uint64_t wall = clock.wall_at_zero();
  clock.set_wall_offset(3600);
  EXPECT_EQ(clock.wall_at_zero(), wall + hour);
  clock.set_wall_offset(-3600);
  EXPECT_EQ(clock.wall_at_zero(), wall - hour);
  host.sleep(100 * second, FakeHost::Tsc::goes_on);
  clock.resume(0);
  EXPECT_NEAR(static_cast<double>(clock.wall_at_zero() + clock.now()),
              static_cast<double>(host.wall() - hour), 1e3);
  clock.set_wall_offset(-2'000'000'000);
  EXPECT_EQ(clock.wall_at_zero(), 0U) << "there is no time before 1970";
}

TEST(Clock, counts_from_zero_with_the_tsc) {
  FakeHost host;
  const Clock clock(khz, 0, host);
  EXPECT_EQ(clock.now(), 0);
  host.run(90 * second);
  EXPECT_NEAR(static_cast<double>(clock.now()), 90e9, 100);
  EXPECT_EQ(clock.now(), guests_time(clock, clock.guest_tsc()));
  EXPECT_EQ(clock.wall_at_zero(), host.wall() - 90 * second);
}

TEST(Clock, a_host_that_runs_has_not_slept) {
  FakeHost host;
  Clock clock(khz, 0, host);
  const TimeStamp first = clock.stamp();
  for (int i = 0; i < 50; ++i) {
    host.run(i * 100 * millisecond);
    host.err_by(i % 3 * 10 * millisecond);  // the thread did not run between two reads
    EXPECT_FALSE(clock.host_slept());
  }
  EXPECT_EQ(first.time + clock.scale().to_ns(clock.guest_tsc() - first.tsc), clock.now()) << "no new base";
}

// The frequencies: a shift of 0 and of 1 to 2 places in both directions, and multipliers of all kinds.
TEST(Clock, every_stamp_is_fresh_and_gives_the_same_times) {
  for (const std::uint32_t khz_of_this :
       {2'000'000U, 2'299'998U, 2'900'001U, 3'700'123U, 5'100'000U, 999'999U, 300'000U}) {
    FakeHost host;
    const Clock clock(khz_of_this, 0, host);
    TimeStamp last = clock.stamp();
    for (int i = 1; i < 500; ++i) {
      host.run(7'654'321 + i);
      const TimeStamp stamp = clock.stamp();
      ASSERT_LE(stamp.tsc, clock.guest_tsc());
      ASSERT_GE(stamp.time + 270 * millisecond, clock.now()) << khz_of_this;
      ASSERT_EQ(stamp.time + clock.scale().to_ns(clock.guest_tsc() - stamp.tsc), clock.now());
      ASSERT_EQ(last.time + clock.scale().to_ns(clock.guest_tsc() - last.tsc), clock.now());
      last = stamp;
    }
    EXPECT_GT(last.time, second);
  }
}

TEST_P(Sleep, is_no_system_time_and_is_wall_time) {
  host_.run(10 * second);
  ASSERT_FALSE(clock_.host_slept());
  host_.run(300 * millisecond);
  const std::uint64_t before = clock_.now();
  host_.sleep(8 * hour, GetParam());
  host_.run(2 * second);
  ASSERT_TRUE(clock_.host_slept());
  clock_.resume(0);
  EXPECT_FALSE(clock_.host_slept());
  EXPECT_GE(clock_.now(), before + 2 * second);
  EXPECT_LE(clock_.now(), before + 2 * second + 10 * millisecond);
  EXPECT_EQ(clock_.wall_at_zero() + clock_.now(), host_.wall());
  host_.run(5 * second);
  EXPECT_FALSE(clock_.host_slept());
  EXPECT_LE(clock_.now(), before + 7 * second + 10 * millisecond);
  EXPECT_EQ(clock_.now(), guests_time(clock_, clock_.guest_tsc()));
}

TEST_P(Sleep, never_takes_time_back_that_the_guest_has_seen) {
  constexpr std::uint64_t as_much_as_ntp_may = 500;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 30; ++i) {
      host_.run(700 * millisecond, as_much_as_ntp_may);
      ASSERT_FALSE(clock_.host_slept());
    }
    host_.run(900 * millisecond, as_much_as_ntp_may);
    const std::uint64_t before = clock_.now();
    host_.sleep(hour, GetParam());
    // With a TSC that went on, the sleep is found at once; otherwise a second later.
    host_.run(second);
    ASSERT_TRUE(clock_.host_slept());
    clock_.resume(0);
    ASSERT_GE(clock_.now(), before);
  }
}

TEST_P(Sleep, is_found_once_however_long_after) {
  host_.sleep(2 * second, GetParam());
  host_.run(40 * second);
  ASSERT_TRUE(clock_.host_slept());
  ASSERT_TRUE(clock_.host_slept()) << "until it is answered";
  clock_.resume(0);
  EXPECT_FALSE(clock_.host_slept());
  EXPECT_LE(clock_.now(), 40 * second + 50 * millisecond);
}

std::string name_of(const testing::TestParamInfo<FakeHost::Tsc>& tsc) {
  switch (tsc.param) {
    case FakeHost::Tsc::goes_on: return "while_the_tsc_goes_on";
    case FakeHost::Tsc::stands_still: return "while_the_tsc_stands_still";
    case FakeHost::Tsc::starts_anew: break;
  }
  return "after_which_the_tsc_starts_anew";
}
INSTANTIATE_TEST_SUITE_P(, Sleep,
                         testing::Values(FakeHost::Tsc::goes_on, FakeHost::Tsc::stands_still,
                                         FakeHost::Tsc::starts_anew),
                         name_of);

TEST(Clock, a_host_that_moves_the_guests_tsc_back_to_where_it_was_gives_another_offset) {
  FakeHost host;
  Clock clock(khz, 0, host);
  host.run(100 * second);
  ASSERT_FALSE(clock.host_slept());
  const std::uint64_t guest_tsc = clock.guest_tsc(), before = clock.now();
  host.sleep(hour, FakeHost::Tsc::starts_anew);
  ASSERT_TRUE(clock.host_slept());
  clock.resume(guest_tsc - host.tsc());
  EXPECT_EQ(clock.guest_tsc(), guest_tsc);
  EXPECT_GE(clock.now(), before);
  EXPECT_LE(clock.now(), before + millisecond);
}

TEST(HostClock, looks_at_the_time_asleep_agree) {
  const std::uint64_t first = host_clock().asleep();
  const std::uint64_t next = host_clock().asleep();
  EXPECT_LT(next > first ? next - first : first - next, 100 * millisecond);
  EXPECT_GT(host_clock().wall(), 1'600'000'000 * second);
}

}  // namespace
}  // namespace pinfold::vmm
