// What a vCPU's sleep waits for, what ends it, and what is counted meanwhile. Everything that would kick the
// vCPU is done by its surroundings when they hear that it rests.
#include "vmm/cpu/sleep.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t second = 1'000'000'000;

class NoAlarm final : public Alarm {
 public:
  void set(std::uint64_t) override {}
};

struct Scene final : SleepSurroundings {
  bool domain_ended() const override { return ended; }
  bool is_up() const override { return up; }
  bool upcall_due() override { return upcall; }
  bool nmi_due() override { return nmi; }
  bool port_pending(Port port) override { return port == pending; }
  std::uint64_t now() override { return time; }
  std::uint64_t ticks() override { return time; }
  void check_timers(pvmmu::DomainLock&) override {
    if (timers.check(time)) {
      ++interrupts;
      upcall = true;
    }
  }
  void publish_run_state(pvmmu::Held) override { published.push_back(run_state.state()); }
  /// The vCPU has come to rest, the lock is still held. Time passes, and something kicks it.
  void rests() override {
    EXPECT_TRUE(stops.at_rest());
    if (++rested > 100) ended = true;  // a test that would not end
    time += 10;
    if (while_resting) while_resting();
    wakeup.kick();
  }

  bool ended = false, up = true, upcall = false, nmi = false;
  Port pending{0};
  std::uint64_t time = 1000;
  int rested = 0, interrupts = 0;
  std::function<void()> while_resting;
  std::vector<RunState> published;

  NoAlarm alarm;
  VcpuTimers timers{alarm};
  RunStateClock run_state;
  StopControl stops;
  Statistics statistics;
  std::atomic<std::uint32_t> pollers{0};
  Wakeup wakeup{statistics.signals};
  VcpuSleep sleep{{wakeup, timers, run_state, stops, statistics, pollers, *this}};
  pvmmu::DomainMutex mutex;
  pvmmu::DomainLock lock{mutex};

  Scene() {
    timers.set_period(0, 0);
    run_state.enter(RunState::running, time);
    stops.set_at_rest(lock, false);
  }
};

TEST(VcpuSleep, who_asked_for_nothing_does_not_sleep) {
  Scene s;
  s.sleep.sleep_while_down(s.lock);
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_FALSE(s.sleep.rest_while_stopped(s.lock));
  EXPECT_EQ(s.rested, 0);
}

TEST(VcpuSleep, a_block_lasts_until_an_upcall_is_due) {
  Scene s;
  s.while_resting = [&] { s.upcall = s.rested == 3; };
  s.sleep.request_block();
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.rested, 3);
  EXPECT_EQ(s.statistics.sleeps, 1U);
  EXPECT_EQ(s.statistics.sleeps_again, 2U);
  EXPECT_EQ(s.statistics.blocked_ticks, 30U);
  EXPECT_EQ(s.published, (std::vector{RunState::blocked, RunState::running}));
  EXPECT_EQ(s.run_state.spent(RunState::blocked, s.time), 30U);
  EXPECT_FALSE(s.stops.at_rest());
  s.upcall = false;
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.rested, 3) << "the request was for one sleep";
}

TEST(VcpuSleep, an_upcall_that_is_due_leaves_nothing_to_wait_for) {
  Scene s;
  s.upcall = true;
  s.sleep.request_block();
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.rested, 0);
  EXPECT_EQ(s.statistics.sleeps, 0U);
  EXPECT_TRUE(s.published.empty());
}

TEST(VcpuSleep, a_timer_ends_a_block) {
  Scene s;
  s.timers.set_one_shot(s.time + 25, s.time);
  s.sleep.request_block();
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.interrupts, 1);
  EXPECT_EQ(s.rested, 3);
}

TEST(VcpuSleep, a_periodic_tick_does_not_end_a_block_and_is_looked_at_behind_it) {
  Scene s;
  s.timers.set_period(15, s.time);
  (void)s.timers.check(s.time);
  s.while_resting = [&] { s.upcall = s.rested == 5; };
  s.sleep.request_block();
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.interrupts, 0);
  EXPECT_TRUE(s.wakeup.is_kicked()) << "so that the loop checks the timers before it enters";
  EXPECT_TRUE(s.timers.check(s.time));
}

TEST(VcpuSleep, a_poll_ends_with_one_of_its_ports_or_at_its_time) {
  Scene s;
  s.while_resting = [&] {
    EXPECT_EQ(s.pollers, 1U);
    s.pending = Port(s.rested == 2 ? 5U : 4U);  // 4 is not polled
  };
  s.sleep.request_poll({Port(5), Port(6)}, 0);
  EXPECT_TRUE(s.sleep.is_polling());
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.rested, 2);
  EXPECT_FALSE(s.sleep.is_polling());
  EXPECT_EQ(s.pollers, 0U);

  s.while_resting = nullptr;
  s.sleep.request_poll({Port(7)}, s.time + 25);
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.rested, 5);
}

TEST(VcpuSleep, the_domains_end_ends_every_sleep) {
  Scene s;
  s.while_resting = [&] { s.ended = true; };
  s.sleep.request_block();
  s.sleep.sleep_if_asked(s.lock);
  EXPECT_EQ(s.rested, 1);
  s.ended = false;
  s.up = false;
  s.sleep.sleep_while_down(s.lock);
  EXPECT_EQ(s.rested, 2);
  s.ended = false;
  s.stops.stop(s.lock, StopReason::user);
  EXPECT_TRUE(s.sleep.rest_while_stopped(s.lock));
  EXPECT_EQ(s.rested, 3);
}

TEST(VcpuSleep, a_vcpu_that_is_down_waits_for_no_event) {
  Scene s;
  s.up = false;
  s.upcall = true;
  s.while_resting = [&] {
    EXPECT_EQ(s.run_state.state(), RunState::offline);
    s.up = s.rested == 4;
  };
  s.sleep.sleep_while_down(s.lock);
  EXPECT_EQ(s.rested, 4);
  EXPECT_EQ(s.run_state.state(), RunState::running);
}

TEST(VcpuSleep, a_vcpu_that_came_up_before_its_thread_looked_is_running) {
  Scene s;
  s.run_state.enter(RunState::offline, s.time);
  s.sleep.sleep_while_down(s.lock);
  EXPECT_EQ(s.run_state.state(), RunState::running);
  EXPECT_EQ(s.rested, 0);
}

TEST(VcpuSleep, an_nmi_ends_a_block_and_a_poll) {
  for (const bool polls : {false, true}) {
    Scene s;
    s.while_resting = [&] { s.nmi = s.rested == 2; };
    if (polls)
      s.sleep.request_poll({Port(5)}, 0);
    else
      s.sleep.request_block();
    s.sleep.sleep_if_asked(s.lock);
    EXPECT_EQ(s.rested, 2);
  }
}

TEST(VcpuSleep, an_nmi_does_not_bring_a_vcpu_up) {
  Scene s;
  s.up = false;
  s.nmi = true;
  s.while_resting = [&] { s.up = s.rested == 4; };
  s.sleep.sleep_while_down(s.lock);
  EXPECT_EQ(s.rested, 4);
}

TEST(VcpuSleep, a_stopped_vcpu_rests_until_the_last_reason_is_gone) {
  Scene s;
  s.stops.stop(s.lock, StopReason::user);
  s.stops.stop(s.lock, StopReason::debugger);
  s.upcall = true;
  s.while_resting = [&] {
    if (s.rested == 1) s.stops.go_on(s.lock, StopReason::debugger);
    if (s.rested == 3) s.stops.go_on(s.lock, StopReason::user);
  };
  EXPECT_TRUE(s.sleep.rest_while_stopped(s.lock));
  EXPECT_EQ(s.rested, 3);
  EXPECT_FALSE(s.stops.at_rest());
}

TEST(VcpuSleep, no_timer_wakes_a_stopped_vcpu) {
  Scene s;
  s.timers.set_one_shot(s.time + 5, s.time);
  s.stops.stop(s.lock, StopReason::user);
  s.while_resting = [&] {
    if (s.rested == 3) s.stops.go_on(s.lock, StopReason::user);
  };
  EXPECT_TRUE(s.sleep.rest_while_stopped(s.lock));
  EXPECT_EQ(s.interrupts, 0);
  EXPECT_TRUE(s.timers.check(s.time));
}

// Without a kick: the deadline of the timer is what ends the wait.
TEST(VcpuSleep, the_thread_waits_no_longer_than_until_the_next_deadline) {
  struct Unkicked final : SleepSurroundings {
    bool domain_ended() const override { return false; }
    bool is_up() const override { return true; }
    bool upcall_due() override { return looks++ > 2; }
    bool nmi_due() override { return false; }
    bool port_pending(Port) override { return false; }
    std::uint64_t now() override { return 0; }
    std::uint64_t ticks() override { return 0; }
    void check_timers(pvmmu::DomainLock&) override {}
    void publish_run_state(pvmmu::Held) override {}
    void rests() override {}
    int looks = 0;
  } around;
  NoAlarm alarm;
  VcpuTimers timers(alarm);
  RunStateClock run_state;
  StopControl stops;
  Statistics statistics;
  std::atomic<std::uint32_t> pollers{0};
  Wakeup wakeup(statistics.signals);
  VcpuSleep sleep({wakeup, timers, run_state, stops, statistics, pollers, around});
  pvmmu::DomainMutex mutex;
  pvmmu::DomainLock lock(mutex);
  timers.set_one_shot(1000, 0);
  sleep.request_poll({}, 60 * second);
  sleep.sleep_if_asked(lock);
  EXPECT_EQ(statistics.sleeps, 1U);
}

}  // namespace
}  // namespace pinfold::vmm
