#include "vmm/cpu/flush_duties.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

constexpr VcpuId a{0}, b{1}, c{2};

TEST(FlushDuties, a_vcpu_with_a_flush_due_may_not_enter_until_it_is_handed_over) {
  FlushDuties flushes(2, false);
  EXPECT_EQ(flushes.objection_to_entry(a), nullptr);
  EXPECT_FALSE(flushes.request(a, a));
  EXPECT_TRUE(flushes.due(a));
  EXPECT_FALSE(flushes.due(b));
  EXPECT_NE(flushes.objection_to_entry(a), nullptr);
  flushes.handed_over(a);
  EXPECT_FALSE(flushes.due(a));
  EXPECT_EQ(flushes.objection_to_entry(a), nullptr);
}

TEST(FlushDuties, a_flush_that_was_requested_while_the_vcpu_was_inside_is_due_when_it_comes_back) {
  FlushDuties flushes(2, false);
  flushes.request(b);
  flushes.handed_over(b);
  flushes.entered(b);
  EXPECT_TRUE(flushes.request(a, b));
  flushes.left(b);
  EXPECT_TRUE(flushes.due(b));
  EXPECT_NE(flushes.objection_to_entry(b), nullptr);
}

TEST(FlushDuties, whoever_asks_waits_until_the_other_has_left_the_guest) {
  FlushDuties flushes(2, false);
  flushes.entered(b);
  EXPECT_TRUE(flushes.request(a, b));
  EXPECT_TRUE(flushes.awaits(a));
  EXPECT_NE(flushes.objection_to_entry(a), nullptr);
  flushes.left(b);
  EXPECT_FALSE(flushes.awaits(a));
  EXPECT_EQ(flushes.objection_to_entry(a), nullptr);
}

TEST(FlushDuties, a_vcpu_that_left_and_is_back_in_the_guest_is_not_awaited) {
  FlushDuties flushes(2, false);
  flushes.entered(b);
  EXPECT_TRUE(flushes.request(a, b));
  flushes.left(b);
  flushes.handed_over(b);
  flushes.entered(b);
  EXPECT_FALSE(flushes.awaits(a));
}

TEST(FlushDuties, nobody_waits_for_a_vcpu_that_is_not_in_the_guest_nor_for_itself) {
  FlushDuties flushes(2, false);
  flushes.entered(a);
  flushes.left(a);
  EXPECT_FALSE(flushes.request(b, a));
  EXPECT_FALSE(flushes.request(a, a));
  EXPECT_FALSE(flushes.awaits(a));
  EXPECT_FALSE(flushes.awaits(b));
}

TEST(FlushDuties, each_of_several_is_awaited) {
  FlushDuties flushes(3, false);
  flushes.entered(b);
  flushes.entered(c);
  EXPECT_TRUE(flushes.request(a, b));
  EXPECT_TRUE(flushes.request(a, c));
  flushes.left(c);
  EXPECT_TRUE(flushes.awaits(a));
  flushes.left(b);
  EXPECT_FALSE(flushes.awaits(a));
}

TEST(FlushDuties, two_that_flush_each_other_both_go_on) {
  FlushDuties flushes(2, false);
  flushes.entered(a);
  flushes.entered(b);
  flushes.left(a);
  EXPECT_TRUE(flushes.request(a, b));
  flushes.left(b);
  EXPECT_FALSE(flushes.request(b, a));
  EXPECT_FALSE(flushes.awaits(a));
  EXPECT_FALSE(flushes.awaits(b));
}

TEST(FlushDuties, a_vcpu_is_kicked_once_however_often_it_is_asked) {
  FlushDuties flushes(2, false);
  flushes.entered(b);
  EXPECT_TRUE(flushes.request(a, b));
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(flushes.request(a, b));
  flushes.left(b);
  flushes.handed_over(b);
  flushes.entered(b);
  EXPECT_TRUE(flushes.request(a, b)) << "it left, and has to leave again";
  EXPECT_TRUE(flushes.awaits(a));
}

TEST(FlushDuties, of_two_that_ask_each_waits) {
  FlushDuties flushes(3, false);
  flushes.entered(c);
  EXPECT_TRUE(flushes.request(a, c));
  EXPECT_TRUE(flushes.request(b, c));
  EXPECT_TRUE(flushes.awaits(a));
  EXPECT_TRUE(flushes.awaits(b));
}

TEST(FlushDuties, waiting_alone_makes_no_flush_due) {
  FlushDuties flushes(2, false);
  flushes.entered(b);
  EXPECT_TRUE(flushes.await_exit(a, b));
  EXPECT_TRUE(flushes.awaits(a));
  flushes.stop_waiting(a);
  EXPECT_FALSE(flushes.awaits(a));
  EXPECT_FALSE(flushes.due(b));
}

TEST(FlushDuties, where_kvm_tells_the_others_a_request_is_the_duty_of_whoever_asks) {
  FlushDuties flushes(2, true);
  flushes.entered(b);
  EXPECT_FALSE(flushes.request(a, b));
  EXPECT_TRUE(flushes.due(a));
  EXPECT_FALSE(flushes.due(b));
  EXPECT_FALSE(flushes.awaits(a));
}

TEST(FlushDuties, tables_are_reused_only_when_each_vcpu_has_dropped_what_it_knew_or_will_before_it_runs) {
  FlushDuties flushes(2, false);
  flushes.request(a);
  flushes.handed_over(a);
  flushes.request(b);
  flushes.handed_over(b);
  flushes.entered(b);
  const std::uint64_t mark = flushes.mark();
  EXPECT_FALSE(flushes.all_dropped_since(mark));
  EXPECT_FALSE(flushes.request(a, a));
  EXPECT_TRUE(flushes.request(a, b));
  EXPECT_FALSE(flushes.all_dropped_since(mark)) << "b is in the guest, and knows what it knew";
  flushes.left(b);
  EXPECT_TRUE(flushes.all_dropped_since(mark));
  flushes.handed_over(b);
  flushes.entered(b);
  EXPECT_TRUE(flushes.all_dropped_since(mark));
  EXPECT_FALSE(flushes.all_dropped_since(flushes.mark()));
}

TEST(FlushDuties, tables_are_not_reused_while_a_vcpu_was_not_asked) {
  FlushDuties flushes(2, false);
  const std::uint64_t mark = flushes.mark();
  EXPECT_FALSE(flushes.request(a, a));
  EXPECT_FALSE(flushes.all_dropped_since(mark)) << "b is out of the guest, but nothing makes it flush";
}

// On its new root the vCPU still has cached entries of the released tables.
TEST(FlushDuties, tables_are_not_reused_while_a_vcpu_that_entered_without_a_flush_is_in_the_guest) {
  FlushDuties flushes(2, false);
  const std::uint64_t mark = flushes.mark();
  flushes.root_loaded(b);
  flushes.entered(b);
  EXPECT_FALSE(flushes.request(a, a));
  EXPECT_TRUE(flushes.request(a, b));
  EXPECT_FALSE(flushes.all_dropped_since(mark));
  flushes.left(b);
  EXPECT_TRUE(flushes.all_dropped_since(mark));
}

// The gate is entered on the vCPU's old root, and loads the new one itself.
TEST(FlushDuties, after_a_mark_a_vcpu_does_not_enter_on_the_root_that_it_left_on) {
  FlushDuties flushes(2, false);
  flushes.root_loaded(b);
  flushes.entered(b);
  flushes.left(b);
  EXPECT_FALSE(flushes.root_may_be_gone(b));
  (void)flushes.mark();
  EXPECT_TRUE(flushes.root_may_be_gone(b));
  EXPECT_FALSE(flushes.request(a, b));
  flushes.handed_over(b);
  EXPECT_NE(flushes.objection_to_entry(b), nullptr) << "the flush comes after instructions on the old root";
  flushes.root_loaded(b);
  EXPECT_EQ(flushes.objection_to_entry(b), nullptr);
}

TEST(FlushDuties, tables_are_not_reused_while_a_vcpu_is_on_its_way_in_on_an_old_root) {
  FlushDuties flushes(3, false);
  flushes.root_loaded(c);
  flushes.entered(c);
  flushes.left(c);
  flushes.entered(b);
  const std::uint64_t mark = flushes.mark();
  for (const VcpuId of : {a, b, c}) (void)flushes.request(a, of);
  // While a waits for b, c enters the guest again.
  flushes.handed_over(c);
  flushes.entered(c);
  flushes.left(b);
  EXPECT_FALSE(flushes.awaits(a));
  EXPECT_FALSE(flushes.all_dropped_since(mark));
  flushes.left(c);
  EXPECT_TRUE(flushes.all_dropped_since(mark));
  EXPECT_FALSE(flushes.root_may_be_gone(c)) << "it came out on a root that it holds";
}

}  // namespace
}  // namespace pinfold::vmm
