// Frames of another domain that a grant maps: they are in the domain's tables by that alone.
#include <gtest/gtest.h>

#include <utility>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

using Access = FakeView::Access;

/// Domain 1, which has a pinned tree, and domain 2, which granted `lent` and `other` to it and holds them.
struct Borrowed : testing::Test {
  Borrowed() {
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
    for (const Mfn mfn : {lent, other}) {
      EXPECT_TRUE(two.mmu.hold(two.held, mfn, FrameType::writable));
      two.outside.add(mfn);
    }
  }
  ~Borrowed() override {
    for (const FakeDomain* domain : {&one, &two})
      EXPECT_TRUE(domain->findings().empty()) << domain->findings().front();
  }

  [[nodiscard]] MachineAddr entry(std::size_t slot) const { return entry_at(tree.l1, slot); }
  [[nodiscard]] Pte at(std::size_t slot) const { return machine.peek(tree.l1, slot); }
  [[nodiscard]] Verdict<> map(std::size_t slot, Pte want, DomId lender = DomId(2)) {
    return one.mmu.map_granted(one.held, entry(slot), want, lender);
  }
  [[nodiscard]] Verdict<> unmap(std::size_t slot, Pte granted) {
    return one.mmu.unmap_granted(one.held, entry(slot), granted);
  }
  [[nodiscard]] Verdict<> update(std::size_t slot, Pte want) {
    return one.mmu.update(one.held, entry(slot), want, Preserve::nothing);
  }

  FakeMachine machine{128};
  FakeDomain one{machine, DomId(1)};
  FakeDomain two{machine, DomId(2)};
  Tree tree = build_tree(machine, one);
  Mfn own = one.allocate(), lent = two.allocate(), other = two.allocate(), kept = two.allocate();
};

TEST_F(Borrowed, frame_is_in_the_view_and_in_entries_from_map_to_unmap) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  EXPECT_EQ(one.view.of(lent), Access::read_write);
  EXPECT_EQ(at(3).mfn(), lent);
  EXPECT_TRUE(one.mmu.may_access(lent, true));
  EXPECT_FALSE(one.mmu.owns(lent));
  EXPECT_TRUE(one.findings().empty());
  ASSERT_TRUE(unmap(3, Pte(lent, rw)));
  EXPECT_EQ(one.view.of(lent), Access::none);
  EXPECT_EQ(at(3), Pte());
  EXPECT_FALSE(one.mmu.may_access(lent, false));
  EXPECT_TRUE(one.mmu.borrowed().all().empty());
  EXPECT_TRUE(two.mmu.owns(lent));
}

TEST_F(Borrowed, frame_that_is_mapped_as_often_as_can_be_counted_is_mapped_no_more) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  // Nobody maps a frame that often in a test.
  auto& borrowed = const_cast<BorrowedFrames&>(one.mmu.borrowed());
  borrowed.set(lent, {max_references - 2, 1});
  ASSERT_TRUE(map(4, Pte(lent, ro)));
  EXPECT_EQ(map(5, Pte(lent, ro)).error().rule, Rule::count_overflow);
  EXPECT_EQ(map(5, Pte(lent, rw)).error().rule, Rule::count_overflow);
  EXPECT_EQ(at(5), Pte());
  ASSERT_TRUE(map(5, Pte(other, rw))) << "another frame has counts of its own";
  borrowed.set(lent, {1, 1});
  for (const auto& [slot, entry] : {std::pair(3, Pte(lent, rw)), {4, Pte(lent, ro)}, {5, Pte(other, rw)}})
    EXPECT_TRUE(unmap(static_cast<std::size_t>(slot), entry));
}

TEST_F(Borrowed, frame_that_is_read_as_often_as_can_be_counted_is_held_no_more) {
  std::uint32_t& entries = two.records().uses(kept).refs;
  const std::uint32_t before = std::exchange(entries, max_references);
  EXPECT_EQ(two.mmu.hold_readable(two.held, kept).error().rule, Rule::count_overflow);
  EXPECT_EQ(entries, max_references);
  entries = before;
  ASSERT_TRUE(two.mmu.hold_readable(two.held, kept));
  two.mmu.release_readable(two.held, kept);
}

TEST_F(Borrowed, frame_is_writable_in_the_view_as_long_as_a_mapping_for_writing_is_left) {
  ASSERT_TRUE(map(3, Pte(lent, ro)));
  EXPECT_EQ(one.view.of(lent), Access::read_only);
  EXPECT_FALSE(one.mmu.may_access(lent, true));
  ASSERT_TRUE(map(4, Pte(lent, rw)));
  EXPECT_EQ(one.view.of(lent), Access::read_write);
  EXPECT_EQ(unmap(3, Pte(lent, rw)).error().rule, Rule::grant_other_mapping);
  EXPECT_EQ(unmap(4, Pte(lent, ro)).error().rule, Rule::grant_other_mapping);
  ASSERT_TRUE(unmap(4, Pte(lent, rw)));
  EXPECT_EQ(one.view.of(lent), Access::read_only);
  ASSERT_TRUE(unmap(3, Pte(lent, ro)));
  EXPECT_EQ(one.view.of(lent), Access::none);
}

TEST_F(Borrowed, frame_is_refused_in_all_other_entries_and_operations) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  for (const std::uint64_t flags : {ro, rw}) {
    EXPECT_EQ(update(4, Pte(lent, flags)).error().rule, Rule::l1_foreign_frame);
    EXPECT_EQ(one.update_concurrently({{entry(4), Pte(lent, flags)}}), 0U);
  }
  EXPECT_EQ(update(3, Pte(lent, ro)).error().rule, Rule::l1_foreign_frame);
  EXPECT_EQ(one.mmu.update(one.held, entry_at(tree.l2, 5), Pte(lent, table), Preserve::nothing).error().rule,
            Rule::upper_foreign_frame);
  EXPECT_EQ(one.mmu.update(one.held, entry_at(lent, 0), Pte(), Preserve::nothing).error().rule,
            Rule::frame_not_owned);
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
    EXPECT_EQ(one.mmu.pin(one.held, level, lent).error().rule, Rule::frame_not_owned);
  Mfn root = no_mfn;
  EXPECT_FALSE(one.mmu.load_root(one.held, root, lent));
  for (const FrameType type : {FrameType::writable, FrameType::seg_desc, FrameType::l1})
    EXPECT_EQ(one.mmu.hold(one.held, lent, type).error().rule, Rule::frame_not_owned);
  EXPECT_EQ(one.mmu.hold_readable(one.held, lent).error().rule, Rule::frame_not_owned);
  EXPECT_EQ(one.mmu.set_machphys(one.held, lent, Pfn(1)).error().rule, Rule::frame_not_owned);
  EXPECT_EQ(one.mmu.deallocate(one.held, lent).error().rule, Rule::frame_not_owned);
  EXPECT_FALSE(one.mmu.deallocate_run(one.held, lent, 1));
  EXPECT_EQ(one.mmu.check_exchangeable(one.held, lent).error().rule, Rule::frame_not_owned);
  EXPECT_EQ(one.mmu.clear_page(one.held, lent).error().rule, Rule::frame_not_owned);
  EXPECT_FALSE(one.mmu.copy_page(one.held, own, lent));
  EXPECT_EQ(one.mmu.write_descriptor(one.held, entry_at(lent, 0), 0).error().rule, Rule::frame_not_owned);
  EXPECT_EQ(one.mmu.update_l1_by_store(one.held, Leaf{no_mfn, 0, Pte(lent, ro)}, 0, Pte()).error().rule,
            Rule::ptwr_not_l1);
  ASSERT_TRUE(unmap(3, Pte(lent, rw)));
}

TEST_F(Borrowed, frame_is_refused_in_a_page_that_becomes_a_table) {
  ASSERT_TRUE(map(3, Pte(lent, ro)));
  machine.poke(own, 7, Pte(lent, ro));
  EXPECT_EQ(one.mmu.pin(one.held, Level::l1, own).error().rule, Rule::l1_foreign_frame);
  ASSERT_TRUE(unmap(3, Pte(lent, ro)));
}

TEST_F(Borrowed, frame_has_to_be_the_lenders) {
  EXPECT_EQ(map(3, Pte(lent, ro), DomId(3)).error().rule, Rule::l1_foreign_frame);
  EXPECT_EQ(map(3, Pte(own, ro)).error().rule, Rule::l1_foreign_frame);
  EXPECT_EQ(map(3, Pte(lent, ro), DomId(1)).error().rule, Rule::l1_foreign_frame);
  for (const Mfn mfn : {Mfn(0), Mfn(127), Mfn(128), no_mfn})
    EXPECT_EQ(map(3, Pte(mfn, ro)).error().rule, Rule::l1_foreign_frame);
  EXPECT_EQ(at(3), Pte());
  EXPECT_TRUE(one.mmu.borrowed().all().empty());
}

TEST_F(Borrowed, entry_keeps_its_references_when_flags_change) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  EXPECT_TRUE(update(3, at(3).without(bit::accessed | bit::dirty)));
  EXPECT_EQ(one.mmu.frame(lent).refs, 1U);
  ASSERT_TRUE(unmap(3, Pte(lent, rw)));
}

/// As on Xen: the mapping stays, and can't be unmapped any more.
TEST_F(Borrowed, entry_that_is_cleared_or_replaced_by_an_update_does_not_end_the_mapping) {
  for (const Pte instead : {Pte(), Pte(own, rw)}) {
    ASSERT_TRUE(map(3, Pte(lent, rw)));
    ASSERT_TRUE(update(3, instead));
    EXPECT_EQ(one.view.of(lent), Access::read_write);
    EXPECT_EQ(unmap(3, Pte(lent, rw)).error().rule, Rule::grant_other_mapping);
    EXPECT_EQ(update(3, Pte(lent, ro)).error().rule, Rule::l1_foreign_frame);
  }
  EXPECT_EQ(one.mmu.borrowed().of(lent).writers, 2U);
  ASSERT_TRUE(update(3, Pte()));
}

TEST_F(Borrowed, entry_goes_with_its_table) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l2, 0), Pte(), Preserve::nothing));
  EXPECT_EQ(one.mmu.frame(lent).refs, 0U);
  EXPECT_EQ(one.mmu.breach(), nullptr);
  // What is left in the page does not become an entry again.
  EXPECT_EQ(one.mmu.pin(one.held, Level::l1, tree.l1).error().rule, Rule::l1_foreign_frame);
}

TEST_F(Borrowed, entry_over_another_one_drops_that) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  ASSERT_TRUE(map(3, Pte(other, ro)));
  EXPECT_EQ(one.mmu.frame(lent).refs, 0U);
  EXPECT_EQ(one.mmu.frame(other).refs, 1U);
  ASSERT_TRUE(unmap(3, Pte(other, ro)));
}

TEST_F(Borrowed, entry_moves_where_another_mapping_was) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  ASSERT_TRUE(map(4, Pte(lent, rw)));
  ASSERT_TRUE(one.mmu.replace_granted(one.held, entry(3), Pte(lent, rw), entry(4)));
  EXPECT_EQ(at(3).mfn(), lent);
  EXPECT_EQ(at(4), Pte());
  EXPECT_EQ(one.mmu.borrowed().of(lent).writers, 1U);
  EXPECT_EQ(one.mmu.breach(), nullptr);
  ASSERT_TRUE(map(5, Pte(other, ro)));
  ASSERT_TRUE(one.mmu.replace_granted(one.held, entry(3), Pte(lent, rw), entry(5)));
  EXPECT_EQ(one.view.of(lent), Access::none);
  EXPECT_EQ(one.view.of(other), Access::read_only);
  ASSERT_TRUE(unmap(3, Pte(other, ro)));
}

TEST_F(Borrowed, frame_that_the_host_does_not_lend_is_not_mapped) {
  one.view.stuck = lent;
  EXPECT_EQ(map(3, Pte(lent, rw)).error().rule, Rule::view_cannot_lend);
  EXPECT_EQ(at(3), Pte());
  EXPECT_TRUE(one.mmu.borrowed().all().empty());
}

/// XSA-222.
TEST_F(Borrowed, frame_that_the_host_does_not_take_back_stays_mapped_for_its_owner) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  one.view.stuck = lent;
  EXPECT_EQ(unmap(3, Pte(lent, rw)).error().rule, Rule::view_cannot_lend);
  EXPECT_EQ(at(3), Pte());
  EXPECT_EQ(one.mmu.borrowed().of(lent).writers, 1U);
}

TEST_F(Borrowed, frames_are_let_go_of_with_the_domain) {
  ASSERT_TRUE(map(3, Pte(lent, rw)));
  ASSERT_TRUE(map(4, Pte(lent, ro)));
  EXPECT_EQ(one.mmu.destroy(one.held), 0U);
  EXPECT_TRUE(one.mmu.borrowed().all().empty());
  EXPECT_EQ(one.mmu.frame(lent).refs, 0U);
  EXPECT_TRUE(two.mmu.owns(lent));
}

TEST_F(Borrowed, table_of_its_owner_is_only_read) {
  ASSERT_TRUE(two.mmu.hold_readable(two.held, kept));
  two.outside.add_readable(kept);
  ASSERT_TRUE(map(3, Pte(kept, ro)));
  EXPECT_TRUE(two.mmu.pin(two.held, Level::l1, kept));
  EXPECT_EQ(one.view.of(kept), Access::read_only);
  EXPECT_EQ(update(3, Pte(kept, rw)).error().rule, Rule::l1_foreign_frame);
  ASSERT_TRUE(unmap(3, Pte(kept, ro)));
}

}  // namespace
}  // namespace pinfold::pvmmu::test
