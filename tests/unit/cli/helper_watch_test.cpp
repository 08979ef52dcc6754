// What users are told when a helper has ended: nothing, if its guest or its device has.
#include "cli/networks/helper_watch.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "cli/networks/descriptors.hpp"

namespace pinfold::cli {
namespace {

using Clock = HelperWatch::Clock;
using Lines = std::vector<std::string>;

struct HelperWatchTest : testing::Test {
  void ends(bool was_killed, bool well = false) {
    found.push_back({"passt ended", "cut off", was_killed, well, tie.ours});
  }

  DeviceTie::Ends tie = DeviceTie::make();
  std::vector<HelperTrouble> found;
  HelperWatch watch{[this] { return std::exchange(found, {}); }};
  const Clock::time_point now = Clock::now();
  const Clock::time_point later = now + HelperWatch::until_told;
  const Lines told{"passt ended; cut off"};
};

TEST_F(HelperWatchTest, one_that_was_killed_is_told_at_once) {
  ends(true);
  EXPECT_EQ(watch.lines(true, now), told);
  EXPECT_EQ(watch.lines(true, later), Lines()) << "once";
  EXPECT_EQ(watch.patience(), -1);
}

TEST_F(HelperWatchTest, one_that_ended_well_is_told_if_the_guest_goes_on_and_has_the_device) {
  ends(false);
  EXPECT_EQ(watch.lines(true, now), Lines());
  EXPECT_GT(watch.patience(), 0);
  EXPECT_EQ(watch.lines(true, later - std::chrono::milliseconds(1)), Lines());
  EXPECT_EQ(watch.lines(true, later), told);
}

TEST_F(HelperWatchTest, one_whose_device_is_gone_is_not_told) {
  ends(false);
  EXPECT_EQ(watch.lines(true, now), Lines());
  tie.monitors = vmm::Fd();
  EXPECT_EQ(watch.lines(true, later), Lines());
  EXPECT_EQ(watch.patience(), -1);
}

TEST_F(HelperWatchTest, before_the_guest_runs_it_is_why_the_guest_can_t) {
  ends(false);
  tie.monitors = vmm::Fd();
  EXPECT_EQ(watch.lines(false, now), Lines{"passt ended"});
}

TEST_F(HelperWatchTest, one_that_ended_with_the_monitor_is_not_why_the_guest_can_t) {
  ends(false, true);
  EXPECT_EQ(watch.lines(false, now), Lines{"passt ended"}) << "the monitor has not ended";
  tie.monitors = vmm::Fd();
  ends(false, true);
  EXPECT_EQ(watch.lines(false, now), Lines());
  ends(true);
  EXPECT_EQ(watch.lines(false, now), Lines{"passt ended"});
}

int new_descriptor() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(NetworkDescriptors, are_handed_over_as_a_text) {
  const int lane = new_descriptor(), capture = new_descriptor(), other = new_descriptor(),
            tie = new_descriptor();
  const std::string text = std::to_string(lane) + "/" + std::to_string(capture) + "/;" +
                           std::to_string(other) + "," + std::to_string(new_descriptor()) + "//" +
                           std::to_string(tie);
  const auto got = inherit_networks(text);
  ASSERT_TRUE(got);
  EXPECT_EQ(text_of(*got), text);
  EXPECT_EQ(numbers_of(*got).size(), 5U);
  EXPECT_EQ((*got)[0].capture.get(), capture);
  EXPECT_FALSE((*got)[0].tie.open());
  EXPECT_EQ((*got)[1].tie.get(), tie);
  for (const char* bad : {"/", "//", "x//", "999999//"}) EXPECT_FALSE(inherit_networks(bad)) << bad;
  const std::string good = std::to_string(new_descriptor());
  EXPECT_FALSE(inherit_networks(good + "/999999/"));
}

}  // namespace
}  // namespace pinfold::cli
