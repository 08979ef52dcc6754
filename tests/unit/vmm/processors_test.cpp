// Threads on processors of this host.
#include "vmm/processors.hpp"

#include <gtest/gtest.h>

#include <system_error>
#include <thread>

namespace pinfold::vmm {
namespace {

Processors first_of(const Processors& all) {
  Processors one;
  one.add(all.first_outside({}).value_or(0));
  return one;
}

TEST(Processors, a_set_as_text) {
  Processors some;
  EXPECT_TRUE(some.empty());
  EXPECT_EQ(some.text(), "");
  for (const unsigned number : {0U, 1U, 63U, 64U, 70U, Processors::most - 1}) some.add(number);
  EXPECT_EQ(some.text(), "0-1,63-64,70,8191");
  some.remove(64);
  EXPECT_FALSE(some.has(64));
  EXPECT_EQ(some.text(), "0-1,63,70,8191");
}

TEST(Processors, the_first_one_that_others_have_not) {
  Processors some, others;
  some.add(3);
  some.add(64);
  others.add(3);
  EXPECT_EQ(some.first_outside(others), 64U);
  others.add(some);
  EXPECT_FALSE(some.first_outside(others));
}

TEST(Binding, a_thread_inherits_it_and_its_maker_gets_its_own_back) {
  const Processors before = Processors::of_this_thread(), one = first_of(before);
  ASSERT_FALSE(before.empty());
  Processors of_the_thread;
  std::thread thread;
  {
    const Binding binding(one);
    thread = std::thread([&] { of_the_thread = Processors::of_this_thread(); });
  }
  thread.join();
  EXPECT_EQ(of_the_thread, one);
  EXPECT_EQ(Processors::of_this_thread(), before);
}

TEST(Binding, to_nothing_is_an_error) {
  const Processors before = Processors::of_this_thread();
  EXPECT_THROW(const Binding binding{Processors()}, std::system_error);
  EXPECT_EQ(Processors::of_this_thread(), before);
}

}  // namespace
}  // namespace pinfold::vmm
