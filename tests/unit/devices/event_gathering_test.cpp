// How many events a frontend gets for frames that are done, and when.
#include "devices/net/event_gathering.hpp"

#include <gtest/gtest.h>

#include "granting_guest.hpp"

namespace pinfold::devices::net {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t ring_ref = 8, ring_frame = 1, few_bytes = 1514;

struct Gathering : testing::Test {
  Gathering() {
    wakes_at(1);
    events.look();
  }
  GrantedPage ring_page() {
    guest.grant(ring_ref, ring_frame);
    return std::move(*access.use(GrantRef(ring_ref), GrantUse::write));
  }
  /// Frames that were asked for are done.
  void do_frames(std::uint32_t count, std::size_t bytes_of_each) {
    page.store(0, requests += count);
    events.look();
    for (std::uint32_t n = 0; n < count; ++n) {
      std::array<std::byte, 8> request{};
      EXPECT_TRUE(ring.take(request));
      ring.respond(request);
    }
    events.add(count, count * bytes_of_each, now);
  }
  [[nodiscard]] std::uint32_t shown() { return page.load<std::uint32_t>(8); }
  /// The frontend writes rsp_event: it has taken the responses before.
  void wakes_at(std::uint32_t response) { page.store(12, response); }

  GrantingGuest guest;
  GrantAccess access = guest.access();
  BackRing ring{ring_page(), {8, 256}};
  vmm::SharedPage page = guest.frame(ring_frame);
  EventGathering events{ring, few_bytes};
  EventGathering::Clock::time_point now = EventGathering::Clock::time_point() + 1s;
  std::uint32_t requests = 0;
};

TEST_F(Gathering, responses_are_shown_before_their_event) {
  do_frames(2, 60);
  EXPECT_FALSE(events.tells(false, now));
  EXPECT_EQ(shown(), 2u);
}

TEST_F(Gathering, few_bytes_wait_and_not_without_end) {
  do_frames(1, 60);
  const auto first = now;
  EXPECT_FALSE(events.tells(false, now));
  EXPECT_EQ(events.until_told(now), Pacing::longest_wait);
  now += 1500us;
  do_frames(1, 60);
  EXPECT_FALSE(events.tells(false, now)) << "the second waits with the first";
  EXPECT_EQ(events.until_told(now), Pacing::longest_wait - 1500us);
  now = first + Pacing::longest_wait;
  EXPECT_TRUE(events.tells(false, now));
  EXPECT_EQ(events.until_told(now), std::nullopt);
  EXPECT_FALSE(events.tells(false, now + 10ms)) << "they were told";
}

TEST_F(Gathering, a_sender_of_much_does_not_wait) {
  do_frames(1, few_bytes);
  EXPECT_TRUE(events.tells(false, now));
}

TEST_F(Gathering, a_frontend_that_looks_by_itself_gets_no_event) {
  for (std::uint32_t n = 0; n < 1000; ++n) {
    do_frames(1, 60);
    EXPECT_FALSE(events.tells(false, now)) << n;
    now += 1ms;
    wakes_at(requests + 1);
  }
  events.look();
  EXPECT_EQ(events.until_told(now), std::nullopt) << "it has taken the last one, too";
}

TEST_F(Gathering, a_frontend_that_wants_no_event_yet_gets_it_when_it_does) {
  wakes_at(20);
  do_frames(19, few_bytes);
  EXPECT_FALSE(events.tells(false, now));
  do_frames(1, few_bytes);
  EXPECT_TRUE(events.tells(false, now));
}

TEST_F(Gathering, what_is_waited_for_is_told_at_once) {
  do_frames(1, 60);
  EXPECT_TRUE(events.tells(true, now));
  EXPECT_FALSE(events.tells(true, now)) << "there is nothing new";
}

TEST_F(Gathering, half_a_ring_is_told_at_once) {
  do_frames(EventGathering::most_gathered - 1, 1);
  EXPECT_FALSE(events.tells(false, now));
  do_frames(1, 1);
  EXPECT_TRUE(events.tells(false, now));
}

TEST_F(Gathering, while_more_is_likely_the_thread_looks_by_itself) {
  do_frames(1, 60);
  EXPECT_FALSE(events.tells(false, now));
  EXPECT_EQ(events.rest(now), Pacing::look_after);
  now += Pacing::most_patience;
  EXPECT_EQ(events.rest(now), std::nullopt);
  EXPECT_NE(events.until_told(now), std::nullopt);
}

}  // namespace
}  // namespace pinfold::devices::net
