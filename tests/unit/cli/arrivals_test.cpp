// Disks that a guest gets when their servers have answered. Their servers: threads of the test's, or nobody.
#include "cli/hotplug/arrivals.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <thread>

namespace pinfold::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Ends {
  vmm::Fd ours, its;
};

Ends make_ends() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {vmm::Fd(ends[0]), vmm::Fd(ends[1])};
}

ServedDisk disk_of(std::uint32_t number, vmm::Fd socket) {
  ServedDisk disk;
  disk.nodes = {number, "xvdb", false};
  disk.socket = std::move(socket);
  disk.options.name = "test";
  return disk;
}

bool ends_within(const Arrivals& arrivals, std::uint32_t number, std::chrono::seconds most) {
  for (const auto end = Clock::now() + most; Clock::now() < end;) {
    if (!arrivals.of(number).coming) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

Arrivals::Attach nothing() {
  return [](auto, auto) -> tl::expected<void, std::string> {
    ADD_FAILURE() << "no server has answered";
    return {};
  };
}

TEST(Arrivals, a_server_that_hangs_up_is_a_failure_until_the_next_attempt) {
  Arrivals arrivals(nothing());
  EXPECT_FALSE(arrivals.of(7).coming || arrivals.of(7).failure);
  for (int attempt = 0; attempt < 2; ++attempt) {
    Ends ends = make_ends();
    ASSERT_TRUE(arrivals.add(disk_of(7, std::move(ends.its))));
    EXPECT_TRUE(arrivals.of(7).coming);
    EXPECT_FALSE(arrivals.of(7).failure);
    ends.ours = vmm::Fd();
    ASSERT_TRUE(ends_within(arrivals, 7, std::chrono::seconds(10)));
    ASSERT_TRUE(arrivals.of(7).failure);
    EXPECT_NE(arrivals.of(7).failure->find("its server can't be used"), std::string::npos);
  }
}

TEST(Arrivals, only_so_many_wait_and_none_of_them_twice) {
  Arrivals arrivals(nothing());
  std::vector<vmm::Fd> silent;
  const auto add = [&](std::uint32_t number) {
    Ends ends = make_ends();
    silent.push_back(std::move(ends.ours));
    return arrivals.add(disk_of(number, std::move(ends.its)));
  };
  ASSERT_TRUE(add(0));
  EXPECT_EQ(add(0).error(), "it is being attached already");
  std::uint32_t added = 1;
  while (added < 2 * Arrivals::most && add(added)) ++added;
  // One of them is being asked, unless its thread has not come so far.
  EXPECT_GE(added, Arrivals::most);
  EXPECT_LE(added, Arrivals::most + 1);
  EXPECT_EQ(add(added - 1).error(), "it is being attached already");
}

TEST(Arrivals, end_at_once_although_a_server_is_silent) {
  Arrivals arrivals(nothing());
  Ends ends = make_ends();
  ASSERT_TRUE(arrivals.add(disk_of(1, std::move(ends.its))));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto before = Clock::now();
  arrivals.stop();
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(5));
  EXPECT_EQ(arrivals.add(disk_of(2, make_ends().its)).error(), "the guest is about to end");
}

}  // namespace
}  // namespace pinfold::cli
