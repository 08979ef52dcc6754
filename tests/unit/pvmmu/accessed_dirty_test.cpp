// Accessed and dirty bits: the guest reads exact ones, although the processor walks the mirror.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/entry_rules.hpp"

namespace pinfold::pvmmu::test {
namespace {

class AccessedDirty : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4)); }
  void TearDown() override { EXPECT_EQ(one.findings(), std::vector<std::string>()); }
  void map(std::uint64_t flags) {
    ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l1, 0), Pte(page, flags), Preserve::nothing));
  }
  Pte guest() { return machine.peek(tree.l1, 0); }
  Pte mirror() { return one.mirrors.load(mirror_id(), 0); }
  MirrorId mirror_id() { return MirrorId(machine.frames[tree.l1].mirror); }
  Leaf leaf() { return one.mmu.walk(one.held, tree.l4, va_of(0, 0)).value(); }
  void processor_reads() { one.mirrors.store(mirror_id(), 0, mirror().with(bit::accessed)); }

  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  Tree tree = build_tree(machine, one);
  Mfn page = one.allocate();
};

TEST_F(AccessedDirty, a_writable_clean_page_is_read_only_in_the_mirror_until_it_is_written) {
  map(rw & ~bit::dirty);
  EXPECT_FALSE(mirror().writable());
  ASSERT_TRUE(one.mmu.touch(one.held, leaf(), true));
  EXPECT_TRUE(guest().has(bit::dirty | bit::accessed));
  EXPECT_TRUE(mirror().writable());
  EXPECT_EQ(one.mmu.counters().dirty_faults, 1U);
  EXPECT_TRUE(one.stale.empty()) << "allowing more makes nothing stale";
}

TEST_F(AccessedDirty, a_read_sets_a_and_not_d) {
  map(bit::present | bit::user | bit::writable);
  ASSERT_TRUE(one.mmu.touch(one.held, leaf(), false));
  EXPECT_TRUE(guest().any(bit::accessed));
  EXPECT_FALSE(guest().any(bit::dirty));
  EXPECT_FALSE(mirror().writable());
}

TEST_F(AccessedDirty, a_write_that_some_level_forbids_is_not_touched) {
  map(ro);
  EXPECT_FALSE(one.mmu.touch(one.held, leaf(), true));
  EXPECT_FALSE(guest().any(bit::dirty));
  map(rw & ~bit::dirty);
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l3, 0), Pte(tree.l2, ro), Preserve::nothing));
  EXPECT_FALSE(one.mmu.touch(one.held, leaf(), true));
  EXPECT_FALSE(guest().any(bit::dirty));
}

TEST_F(AccessedDirty, clearing_d_makes_the_mirror_read_only_again_and_says_so) {
  map(rw);
  EXPECT_TRUE(one.stale.empty());
  map(rw & ~bit::dirty);
  EXPECT_FALSE(mirror().writable());
  ASSERT_EQ(one.stale.entries().size(), 1U);
  EXPECT_EQ(one.stale.entries()[0].table, mirror_id());
}

TEST_F(AccessedDirty, the_processors_a_is_merged_where_the_guest_asks_for_it) {
  map(rw & ~bit::accessed);
  processor_reads();
  EXPECT_FALSE(guest().any(bit::accessed));
  EXPECT_TRUE(one.mmu.merged_entry(one.held, tree.l1, 0).any(bit::accessed));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l1, 0), Pte(page, ro & ~bit::accessed),
                             Preserve::accessed_and_dirty));
  EXPECT_TRUE(guest().has(bit::accessed | bit::dirty)) << "D of the old entry is preserved as well";
}

TEST_F(AccessedDirty, a_normal_update_forgets_the_old_bits) {
  map(rw & ~bit::accessed);
  processor_reads();
  map(rw & ~bit::accessed & ~bit::dirty);
  EXPECT_FALSE(guest().any(bit::accessed | bit::dirty));
  EXPECT_FALSE(mirror().any(bit::accessed | bit::writable));
}

TEST_F(AccessedDirty, a_table_that_stops_being_one_keeps_what_the_processor_saw) {
  map(ro & ~bit::accessed);
  processor_reads();
  ASSERT_TRUE(one.mmu.unpin(one.held, tree.l4));
  EXPECT_TRUE(guest().any(bit::accessed));
}

TEST_F(AccessedDirty, preserving_keeps_the_bits_of_an_upper_entry) {
  const Pte plain(tree.l1, bit::present | bit::writable | bit::user);
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l2, 0), plain.with(bit::dirty | bit::accessed),
                             Preserve::nothing));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l2, 0), plain, Preserve::accessed_and_dirty));
  EXPECT_TRUE(machine.peek(tree.l2, 0).has(bit::accessed | bit::dirty));
}

// As on Xen. Linux makes a page inaccessible so: the bits may have been set since it read the entry.
TEST_F(AccessedDirty, preserving_keeps_the_bits_where_the_new_entry_is_not_present) {
  const Pte absent(page, bit::user);
  map(rw & ~bit::accessed);
  processor_reads();
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l1, 0), absent, Preserve::accessed_and_dirty));
  EXPECT_EQ(guest(), absent.with(bit::accessed | bit::dirty));
  EXPECT_EQ(mirror(), Pte());
  const Pte plain(tree.l1, bit::present | bit::writable | bit::user);
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l2, 0), plain.with(bit::dirty | bit::accessed),
                             Preserve::nothing));
  ASSERT_TRUE(one.mmu.update(one.held, entry_at(tree.l2, 0), Pte(), Preserve::accessed_and_dirty));
  EXPECT_EQ(machine.peek(tree.l2, 0), Pte(bit::dirty | bit::accessed));
}

TEST_F(AccessedDirty, touching_what_is_marked_already_stores_nothing) {
  map(rw);
  const auto stored = one.mmu.counters().entries_stored;
  ASSERT_TRUE(one.mmu.touch(one.held, leaf(), true));
  EXPECT_EQ(one.mmu.counters().entries_stored, stored);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
