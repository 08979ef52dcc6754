// Several guests on one host: one machine, one store, one switch.
#include "cli/run/host.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace pinfold::cli::test {
namespace {

GuestConfig small_guest() {
  GuestConfig config;
  config.memory_bytes = 4ULL << 20;
  return completed(config).value();
}

TEST(Host, a_device_that_is_not_there_is_told_in_one_line) {
  HostOptions options;
  options.kvm_device = "/nonexistent/kvm";
  const auto host = Host::open(options, {});
  ASSERT_FALSE(host);
  EXPECT_NE(host.error().find("/nonexistent/kvm"), std::string::npos) << host.error();
}

TEST(Host, its_machine_has_room_for_all_guests_that_it_was_told_of) {
  const std::array guests{small_guest(), small_guest()};
  auto host = Host::open({}, guests);
  if (!host) GTEST_SKIP() << host.error();
  auto one = (*host)->make_guest(guests[0], {});
  ASSERT_TRUE(one) << one.error();
  auto two = (*host)->make_guest(guests[1], {});
  ASSERT_TRUE(two) << two.error();
  EXPECT_NE((*one)->domain().id(), (*two)->domain().id());
  const auto& frames = (*one)->domain().frames();
  for (const Mfn mfn : (*two)->domain().frames())
    ASSERT_EQ(std::ranges::count(frames, mfn), 0) << "a frame that both have";
  EXPECT_EQ((*one)->tear_down(true).frames, 0u);
  const auto left = (*two)->tear_down(true);
  EXPECT_EQ(left.frames, 0u);
  EXPECT_TRUE(left.findings.empty());
}

}  // namespace
}  // namespace pinfold::cli::test
