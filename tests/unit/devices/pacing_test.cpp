// Frontends of several kinds, and how many events they cost.
#include <gtest/gtest.h>

#include "devices/pacing.hpp"

namespace pinfold::devices {
namespace {

using namespace std::chrono_literals;
using Time = Pacing::Clock::time_point;

/// A frontend that has up to `depth` requests under way, takes `per_request` to make each, and is shown
/// responses by a backend that is done with a request at once.
struct Load {
  std::uint32_t depth;
  std::chrono::nanoseconds per_request;
  std::uint32_t events = 0;
  std::chrono::nanoseconds waited{0};  ///< All that the frontend could do was to wait.

  void run(Pacing& pacing, std::uint32_t requests) {
    Time now = Time() + 1s;
    std::uint32_t gathered = 0;
    for (std::uint32_t made = 0; made < requests;) {
      if (gathered < depth) {
        now += per_request;
        ++made;
        ++gathered;
        pacing.found(now);
        pacing.done(now);
      } else {
        now += Pacing::look_after;
        waited += Pacing::look_after;
      }
      if (!pacing.shows(gathered, now)) {
        EXPECT_TRUE(pacing.rest(now)) << "what is gathered is looked at again";
        continue;
      }
      ++events;
      gathered = 0;
    }
  }
};

TEST(Pacing, a_frontend_with_many_requests_under_way_takes_few_events) {
  for (const auto per_request : {2us, 20us, 100us}) {
    Pacing pacing;
    Load load{32, per_request};
    load.run(pacing, 10000);
    EXPECT_LT(load.events, 10000u / 8) << per_request.count();
    EXPECT_EQ(load.waited, 0us);
  }
}

TEST(Pacing, a_slow_frontend_gathers_less) {
  Pacing pacing;
  Load load{32, 400us};
  load.run(pacing, 10000);
  EXPECT_LT(load.events, 10000u / 3);
}

TEST(Pacing, a_frontend_with_one_request_under_way_hardly_waits) {
  for (const auto per_request : {5us, 50us, 400us}) {
    Pacing pacing;
    Load load{1, per_request};
    load.run(pacing, 10000);
    EXPECT_EQ(load.events, 10000u);
    EXPECT_LT(load.waited, 10000 * 10us) << "less than 10 us for a request";
  }
}

TEST(Pacing, frontends_with_few_under_way_wait_little) {
  for (const std::uint32_t depth : {2u, 3u, 6u}) {
    Pacing pacing;
    Load load{depth, 20us};
    load.run(pacing, 10000);
    EXPECT_LE(load.events, 10000u / depth * 2);
    EXPECT_LT(load.waited, 10000 * 10us) << depth;
  }
}

TEST(Pacing, no_response_waits_longer_than_the_longest_wait) {
  Pacing pacing;
  Load{32, 2us}.run(pacing, 10000);
  Time now = Time() + 1s + 10000 * 2us;
  pacing.found(now);
  ASSERT_TRUE(pacing.shows(Pacing::most_at_a_time, now)) << "what the load left";
  ASSERT_FALSE(pacing.shows(1, now)) << "it gathers";
  const Time since = now;
  while (!pacing.shows(1, now)) {
    now += 10us;
    pacing.found(now);
    ASSERT_LE(now - since, Pacing::longest_wait);
  }
}

TEST(Pacing, nothing_is_shown_where_nothing_is_ready_and_an_idle_queue_asks_for_an_event) {
  Pacing pacing;
  EXPECT_FALSE(pacing.shows(0, Time() + 1s));
  EXPECT_FALSE(pacing.rest(Time() + 1s));
  Load{32, 2us}.run(pacing, 1000);
  while (!pacing.shows(1, Time() + 50s)) {
  }
  EXPECT_FALSE(pacing.rest(Time() + 60s));
}

}  // namespace
}  // namespace pinfold::devices
