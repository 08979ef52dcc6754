// Frames that are granted, and entries that map them.
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

/// A domain with a pinned tree and a page, which it grants to itself.
struct Granting : testing::Test {
  Granting() { EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4)); }
  ~Granting() override { EXPECT_TRUE(one.findings().empty()) << one.findings().front(); }

  void hold_readable(Mfn mfn) {
    ASSERT_TRUE(one.mmu.hold_readable(one.held, mfn));
    one.outside.add_readable(mfn);
  }
  void release_readable(Mfn mfn) {
    one.mmu.release_readable(one.held, mfn);
    one.outside = OutsideReferences();
  }
  [[nodiscard]] MachineAddr entry(std::size_t slot) const { return entry_at(tree.l1, slot); }
  [[nodiscard]] Pte at(std::size_t slot) const { return machine.peek(tree.l1, slot); }

  FakeMachine machine{128};
  FakeDomain one{machine, DomId(1)};
  FakeDomain two{machine, DomId(2)};
  Tree tree = build_tree(machine, one);
  Mfn page = one.allocate(), other = one.allocate();
};
using GrantedFrame = Granting;
using GrantedEntry = Granting;

TEST_F(GrantedFrame, that_is_held_for_reading_stays_the_domains_when_it_is_given_back) {
  hold_readable(page);
  ASSERT_TRUE(one.mmu.deallocate(one.held, page));
  EXPECT_TRUE(one.mmu.owns(page));
  EXPECT_EQ(one.view.of(page), FakeView::Access::read_write);
  release_readable(page);
  EXPECT_FALSE(one.mmu.owns(page));
  EXPECT_EQ(one.view.of(page), FakeView::Access::none);
}

TEST_F(GrantedFrame, that_is_held_for_reading_may_be_or_become_a_table) {
  hold_readable(tree.l1);
  hold_readable(page);
  EXPECT_TRUE(one.mmu.pin(one.held, Level::l1, page));
  EXPECT_EQ(one.mmu.frame(page).type_count, 1U);
  EXPECT_EQ(one.mmu.frame(page).refs, 3U);
  EXPECT_TRUE(one.mmu.unpin(one.held, page));
}

TEST_F(GrantedFrame, that_is_held_for_reading_is_not_exchanged) {
  hold_readable(page);
  EXPECT_EQ(one.mmu.check_exchangeable(one.held, page).error().rule, Rule::frame_in_use);
  EXPECT_FALSE(one.mmu.deallocate_run(one.held, page, 1));
}

TEST_F(GrantedFrame, of_another_domain_or_of_nobody_is_not_held) {
  for (const Mfn mfn : {two.allocate(), Mfn(0), Mfn(127), Mfn(128), no_mfn}) {
    EXPECT_FALSE(one.mmu.hold_readable(one.held, mfn));
    EXPECT_FALSE(one.while_shared([&](Shared share) { return one.mmu.try_hold_readable(share, mfn); }));
  }
}

TEST_F(GrantedFrame, is_held_for_reading_while_the_lock_is_shared_unless_it_was_given_back) {
  const auto try_hold = [&](Shared share) { return one.mmu.try_hold_readable(share, page); };
  const auto try_release = [&](Shared share) { return one.mmu.try_release_readable(share, page); };
  EXPECT_TRUE(one.while_shared(try_hold));
  one.outside.add_readable(page);
  EXPECT_TRUE(one.findings().empty());
  ASSERT_TRUE(one.mmu.deallocate(one.held, page));
  EXPECT_FALSE(one.while_shared(try_hold));
  EXPECT_FALSE(one.while_shared(try_release));
  release_readable(page);
  EXPECT_FALSE(one.mmu.owns(page));
}

TEST_F(GrantedEntry, holds_its_frame_like_any_other) {
  ASSERT_TRUE(one.mmu.map_granted(one.held, entry(3), Pte(page, rw), DomId(1)));
  EXPECT_EQ(one.mmu.frame(page).refs, 2U);
  EXPECT_FALSE(one.mmu.pin(one.held, Level::l1, page));
  ASSERT_TRUE(one.mmu.unmap_granted(one.held, entry(3), Pte(page, rw)));
  EXPECT_EQ(at(3), Pte());
  EXPECT_EQ(one.mmu.frame(page).refs, 1U);
}

TEST_F(GrantedEntry, is_an_aligned_entry_of_an_l1_of_the_domain) {
  const Mfn foreign = two.allocate();
  for (const MachineAddr where : {MachineAddr(entry(3).raw() + 4), entry_at(tree.l2, 3), entry_at(page, 3),
                                  entry_at(foreign, 3), entry_at(Mfn(128), 0), MachineAddr(~0ULL)}) {
    EXPECT_EQ(one.mmu.map_granted(one.held, where, Pte(other, rw), DomId(1)).error().rule,
              Rule::grant_no_l1_entry);
    EXPECT_EQ(one.mmu.unmap_granted(one.held, where, Pte(other, rw)).error().rule, Rule::grant_no_l1_entry);
  }
  EXPECT_EQ(machine.peek(page, 3), Pte());
}

TEST_F(GrantedEntry, names_only_frames_that_the_domain_may_map) {
  EXPECT_EQ(one.mmu.map_granted(one.held, entry(3), Pte(two.allocate(), ro), DomId(1)).error().rule,
            Rule::l1_foreign_frame);
  EXPECT_EQ(one.mmu.map_granted(one.held, entry(3), Pte(tree.l2, rw), DomId(1)).error().rule,
            Rule::l1_writable_map_of_table);
  EXPECT_EQ(at(3), Pte());
}

TEST_F(GrantedEntry, is_not_unmapped_if_it_names_another_frame_or_has_another_rw_or_is_gone) {
  ASSERT_TRUE(one.mmu.map_granted(one.held, entry(3), Pte(page, ro), DomId(1)));
  const auto rule = [&](Pte granted) {
    return one.mmu.unmap_granted(one.held, entry(3), granted).error().rule;
  };
  EXPECT_EQ(rule(Pte(page, rw)), Rule::grant_other_mapping);
  EXPECT_EQ(rule(Pte(other, ro)), Rule::grant_other_mapping);
  ASSERT_TRUE(one.mmu.update(one.held, entry(3), Pte(), Preserve::nothing));
  EXPECT_EQ(rule(Pte(page, ro)), Rule::grant_other_mapping);
}

TEST_F(GrantedEntry, is_replaced_by_another_which_leaves_its_place_in_any_case) {
  ASSERT_TRUE(one.mmu.map_granted(one.held, entry(3), Pte(page, rw), DomId(1)));
  ASSERT_TRUE(one.mmu.update(one.held, entry(4), Pte(other, ro), Preserve::nothing));
  const Pte moved = at(4);
  ASSERT_TRUE(one.mmu.replace_granted(one.held, entry(3), Pte(page, rw), entry(4)));
  EXPECT_EQ(at(3), moved);
  EXPECT_EQ(at(4), Pte());
  EXPECT_EQ(one.mmu.frame(page).refs, 1U);
  EXPECT_EQ(one.mmu.frame(other).refs, 2U);
  EXPECT_FALSE(one.mmu.replace_granted(one.held, entry(5), Pte(page, rw), entry(3)));
  EXPECT_EQ(at(3), Pte());
  EXPECT_EQ(one.mmu.frame(other).refs, 1U);
  ASSERT_TRUE(one.mmu.map_granted(one.held, entry(3), Pte(page, rw), DomId(1)));
  EXPECT_FALSE(one.mmu.replace_granted(one.held, entry(3), Pte(page, rw), entry(3)));
  EXPECT_EQ(at(3), Pte());
  EXPECT_FALSE(one.mmu.replace_granted(one.held, entry(3), Pte(page, rw), entry_at(page, 0)));
}

}  // namespace
}  // namespace pinfold::pvmmu::test
