// A domain ends once, for the first reason.
#include "vmm/ending.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace pinfold::vmm {
namespace {

TEST(DomainEnd, the_first_reason_stays_and_is_told_once) {
  int told = 0;
  DomainEnd end([&] { ++told; });
  EXPECT_FALSE(end.happened());
  EXPECT_EQ(end.result().ending, Ending::none);
  end.end(Ending::reboot, "first");
  end.end(Ending::isolation_fault, "second");
  EXPECT_TRUE(end.happened());
  EXPECT_EQ(end.result().ending, Ending::reboot);
  EXPECT_EQ(end.result().why, "first");
  EXPECT_EQ(told, 1);
}

TEST(DomainEnd, whoever_is_told_finds_that_it_has_happened) {
  bool found = false;
  DomainEnd* self = nullptr;
  DomainEnd end([&] { found = self->happened() && self->result().why == "why"; });
  self = &end;
  end.end(Ending::left, "why");
  EXPECT_TRUE(found);
}

TEST(DomainEnd, of_many_threads_one_ends_it) {
  std::atomic<int> told{0};
  DomainEnd end([&] { ++told; });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&end, i] { end.end(Ending::crash, std::to_string(i)); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace pinfold::vmm
