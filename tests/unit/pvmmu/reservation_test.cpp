// The reservation: which frames a domain gets and gives back, and that it keeps none in the end.
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

class Reservation : public testing::Test {
 protected:
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1), {.max_frames = 32}};
  FakeDomain two{machine, DomId(2)};
};

TEST_F(Reservation, a_pinned_root_that_is_given_back_stays_owned_pinned_and_typed) {  // XSA-252
  const Tree tree = build_tree(machine, one);
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
  ASSERT_TRUE(one.mmu.deallocate(one.held, tree.l4));
  const Frame f = machine.frames[tree.l4];
  EXPECT_TRUE(one.mmu.owns(tree.l4));
  EXPECT_TRUE(f.pinned);
  EXPECT_EQ(f.type, FrameType::l4);
  EXPECT_EQ(one.view.of(tree.l4), FakeView::Access::read_only);
  EXPECT_EQ(one.findings(), std::vector<std::string>());
  EXPECT_EQ(one.mmu.deallocate(one.held, tree.l4).error().rule, Rule::frame_not_owned) << "given back once";
  ASSERT_TRUE(one.mmu.unpin(one.held, tree.l4));
  EXPECT_FALSE(one.mmu.owns(tree.l4));
  EXPECT_EQ(one.view.of(tree.l4), FakeView::Access::none);
}

TEST_F(Reservation, a_frame_that_is_given_back_but_mapped_still_counts_against_the_limit) {  // XSA-385
  const Mfn l1 = one.allocate();
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  std::size_t slot = 0;
  while (auto mfn = one.mmu.allocate(one.held)) {
    ASSERT_LT(slot, 40U) << "more frames than the limit";
    ASSERT_TRUE(one.mmu.update(one.held, entry_at(l1, slot++), Pte(*mfn, rw), Preserve::nothing));
    ASSERT_TRUE(one.mmu.deallocate(one.held, *mfn));
  }
  EXPECT_EQ(slot, 31U);
  EXPECT_EQ(one.mmu.allocated_frames(), 32U);
  ASSERT_TRUE(one.mmu.unpin(one.held, l1));
  EXPECT_EQ(one.mmu.allocated_frames(), 1U);
}

TEST_F(Reservation, a_frame_leaves_the_view_and_the_m2p_with_its_last_reference) {
  const Mfn mfn = one.allocate();
  ASSERT_TRUE(one.mmu.set_machphys(one.held, mfn, Pfn(77)));
  EXPECT_EQ(machine.m2p(mfn), 77U);
  EXPECT_EQ(one.view.of(mfn), FakeView::Access::read_write);
  ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
  EXPECT_EQ(machine.m2p(mfn), no_pfn.raw());
  EXPECT_EQ(one.view.of(mfn), FakeView::Access::none);
  EXPECT_EQ(state_of(machine.frames[mfn]), state_of(Frame{}));
}

TEST_F(Reservation, a_run_of_unused_frames_is_given_back_at_once) {
  constexpr std::uint64_t many = 8;
  const Mfn first = one.mmu.allocate(one.held, many).value();
  ASSERT_TRUE(one.mmu.set_machphys(one.held, first.plus(3), Pfn(77)));
  ASSERT_TRUE(one.mmu.deallocate_run(one.held, first, many));
  EXPECT_EQ(one.view.runs, 1U);
  EXPECT_EQ(one.mmu.allocated_frames(), 0U);
  EXPECT_EQ(machine.m2p(first.plus(3)), no_pfn.raw());
  for (std::uint64_t i = 0; i < many; ++i) {
    EXPECT_FALSE(one.mmu.owns(first.plus(i)));
    EXPECT_EQ(one.view.of(first.plus(i)), FakeView::Access::none);
  }
  EXPECT_TRUE(two.mmu.allocate(two.held, many));
  EXPECT_EQ(one.findings(), std::vector<std::string>());
}

TEST_F(Reservation, a_run_with_a_frame_that_is_in_use_is_left_alone) {
  const Mfn first = one.mmu.allocate(one.held, 8).value();
  const Mfn l1 = first.plus(2), mapped = first.plus(5);
  const auto left_alone = [&](Mfn from, std::uint64_t count) {
    EXPECT_FALSE(one.mmu.deallocate_run(one.held, from, count));
    EXPECT_EQ(one.mmu.allocated_frames(), 8U);
    EXPECT_EQ(one.view.of(from), FakeView::Access::read_write);
  };
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  left_alone(first, 4);
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(l1, 0), Pte(mapped, ro), Preserve::nothing));
  left_alone(first.plus(4), 4);
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(l1, 0), Pte(mapped, rw), Preserve::nothing));
  left_alone(first.plus(4), 4);
  EXPECT_FALSE(one.mmu.deallocate_run(one.held, first.plus(6), 4)) << "two are not this domain's";
  EXPECT_FALSE(one.mmu.deallocate_run(one.held, Mfn(62), 4)) << "past the machine's end";
  EXPECT_FALSE(one.mmu.deallocate_run(one.held, Mfn(~0ULL), 2));
  one.view.stuck = first.plus(7);
  EXPECT_FALSE(one.mmu.deallocate_run(one.held, first.plus(6), 2)) << "the host refuses";
  EXPECT_EQ(one.mmu.allocated_frames(), 8U);
  EXPECT_TRUE(one.mmu.deallocate_run(one.held, first, 2));
  EXPECT_EQ(one.findings(), std::vector<std::string>());
}

TEST_F(Reservation, a_used_frame_is_scrubbed_before_the_next_owner_sees_it) {  // XSA-100
  const Mfn mfn = one.allocate();
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) machine.poke(mfn, slot, Pte(0xdeadbeef));
  ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
  const Mfn again = two.allocate();
  ASSERT_EQ(again, mfn);
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) EXPECT_EQ(machine.peek(again, slot), Pte());
  EXPECT_EQ(two.view.of(again), FakeView::Access::read_write);
  EXPECT_EQ(one.view.of(again), FakeView::Access::none);
  EXPECT_FALSE(one.mmu.owns(again));
}

TEST_F(Reservation, extents_are_contiguous_and_aligned) {
  (void)one.allocate();
  const auto first = one.mmu.allocate(one.held, 8, 8);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->raw() % 8, 0U);
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(one.mmu.owns(first->plus(i)));
  const auto free = machine.frames.free_frames();
  for (std::uint64_t i = 0; i < 7; ++i) (void)two.allocate();
  EXPECT_EQ(machine.frames.free_frames(), free - 7) << "frames skipped for alignment are used one by one";
}

TEST_F(Reservation, extents_can_be_had_again_after_they_were_given_back) {
  for (int i = 0; i < 100; ++i) {
    const auto first = one.mmu.allocate(one.held, 8, 8);
    ASSERT_TRUE(first) << "round " << i;
    for (std::uint64_t k = 0; k < 8; ++k) {
      EXPECT_EQ(machine.peek(first->plus(k), 3), Pte());
      machine.poke(first->plus(k), 3, Pte(1));
      ASSERT_TRUE(one.mmu.deallocate(one.held, first->plus(k)));
    }
  }
}

TEST_F(Reservation, no_frame_belongs_to_two_and_all_are_found) {
  std::vector<bool> seen(64);
  std::uint64_t count = 0;
  while (auto mfn = two.mmu.allocate(two.held)) {
    EXPECT_FALSE(seen[mfn->raw()]);
    seen[mfn->raw()] = true;
    ++count;
  }
  EXPECT_EQ(count, 63U) << "all but frame 0";
}

TEST_F(Reservation, a_special_page_is_mappable_but_never_freed_exchanged_or_retyped_by_the_guest) {
  const Mfn special = one.mmu.allocate_special(one.held).value();
  EXPECT_EQ(one.mmu.allocated_frames(), 0U);
  const Mfn l1 = one.allocate();
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(l1, 0), Pte(special, rw), Preserve::nothing));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(l1, 0), Pte(), Preserve::nothing));
  EXPECT_FALSE(one.mmu.deallocate(one.held, special));
  EXPECT_FALSE(one.mmu.check_exchangeable(one.held, special));
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
    EXPECT_FALSE(one.mmu.pin(one.held, level, special));
  EXPECT_FALSE(one.mmu.hold(one.held, special, FrameType::seg_desc));
  EXPECT_EQ(one.findings(), std::vector<std::string>());
}

TEST_F(Reservation, only_a_frame_that_nothing_refers_to_is_exchangeable) {
  const Mfn l1 = one.allocate(), mfn = one.allocate();
  EXPECT_TRUE(one.mmu.check_exchangeable(one.held, mfn));
  EXPECT_EQ(two.mmu.check_exchangeable(two.held, mfn).error().rule, Rule::frame_not_owned);
  EXPECT_FALSE(one.mmu.check_exchangeable(one.held, no_mfn));
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(l1, 0), Pte(mfn, ro), Preserve::nothing));
  EXPECT_EQ(one.mmu.check_exchangeable(one.held, mfn).error().rule, Rule::frame_in_use);
}

TEST_F(Reservation, going_over_the_limit_for_an_exchange_is_possible_for_a_moment_only) {
  for (int i = 0; i < 32; ++i) (void)one.allocate();
  EXPECT_FALSE(one.mmu.allocate(one.held));
  const auto beyond = one.mmu.allocate_beyond_limit(one.held, 2, 2);
  ASSERT_TRUE(beyond);
  EXPECT_EQ(one.mmu.allocated_frames(), 34U);
  EXPECT_FALSE(one.mmu.allocate(one.held));
}

TEST_F(Reservation, machphys_changes_take_no_reference) {  // XSA-113
  const Mfn mfn = one.allocate();
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(one.mmu.set_machphys(one.held, mfn, Pfn(i)));
  EXPECT_EQ(machine.frames[mfn].refs, 1U);
  EXPECT_FALSE(two.mmu.set_machphys(two.held, mfn, Pfn(5)));
  EXPECT_EQ(machine.m2p(mfn), 999U);
}

TEST_F(Reservation, destroy_takes_everything_back_and_leaves_the_neighbour_alone) {
  const auto free = machine.frames.free_frames();
  const Mfn theirs = two.allocate();
  {
    FakeDomain three(machine, DomId(3));
    const Tree a = build_tree(machine, three, 2);
    const Mfn special = three.mmu.allocate_special(three.held).value(), page = three.allocate();
    machine.poke(a.l1, 0, Pte(special, rw));
    machine.poke(a.l1, 1, Pte(page, rw));
    machine.poke(a.l1, 2, Pte(a.l4, ro));
    ASSERT_TRUE(three.mmu.pin(three.held, Level::l4, a.l4));
    ASSERT_TRUE(three.mmu.pin(three.held, Level::l2, a.l2));
    ASSERT_TRUE(three.mmu.deallocate(three.held, page));
    ASSERT_TRUE(three.mmu.deallocate(three.held, a.l3));
    ASSERT_TRUE(three.mmu.deallocate(three.held, a.l4));
    EXPECT_EQ(three.findings(), std::vector<std::string>());
    EXPECT_EQ(three.mmu.destroy(three.held), 0U);
    EXPECT_EQ(three.mmu.allocated_frames(), 0U);
    EXPECT_EQ(three.mirrors.in_use(), 0U);
    for (std::uint64_t i = 0; i < machine.frames.size(); ++i) {
      EXPECT_FALSE(three.mmu.owns(Mfn(i)));
      EXPECT_EQ(three.view.of(Mfn(i)), FakeView::Access::none);
    }
  }
  EXPECT_EQ(machine.frames.free_frames(), free - 1);
  EXPECT_EQ(machine.frames[theirs].refs, 1U);
}

TEST_F(Reservation, destroy_counts_frames_whose_references_were_forgotten) {
  const Mfn forgotten = one.allocate();
  ASSERT_TRUE(one.mmu.hold(one.held, forgotten, FrameType::writable));
  EXPECT_EQ(one.mmu.destroy(one.held), 1U);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
