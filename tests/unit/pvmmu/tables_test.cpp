// Entries, pins and roots: who may name what, and that counts return to where they were.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/entry_rules.hpp"

namespace pinfold::pvmmu::test {
namespace {

class Tables : public testing::Test {
 protected:
  Verdict<> update(Mfn frame, std::size_t slot, Pte want, Preserve p = Preserve::nothing) {
    return one.mmu.update(one.held, entry_at(frame, slot), want, p);
  }
  Verdict<> pin(Level level, Mfn mfn) { return one.mmu.pin(one.held, level, mfn); }
  Verdict<> unpin(Mfn mfn) { return one.mmu.unpin(one.held, mfn); }
  [[nodiscard]] Frame frame(Mfn mfn) const { return machine.frames[mfn]; }
  void TearDown() override {
    EXPECT_EQ(one.findings(), std::vector<std::string>());
    EXPECT_EQ(two.findings(), std::vector<std::string>());
  }

  FakeMachine machine{128};
  FakeDomain one{machine, DomId(1)};
  FakeDomain two{machine, DomId(2)};
};

/// The tree is pinned from the start.
class PinnedTree : public Tables {
 protected:
  void SetUp() override { ASSERT_TRUE(pin(Level::l4, tree.l4)); }
  Tree tree = build_tree(machine, one);
  Mfn page = one.allocate();
};

TEST_F(Tables, pinning_a_root_types_and_protects_the_whole_tree) {
  const Tree tree = build_tree(machine, one);
  ASSERT_TRUE(pin(Level::l4, tree.l4));
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
    const Frame f = frame(table_of(tree, level));
    EXPECT_EQ(f.type, table_type(level));
    EXPECT_EQ(f.type_count, 1U);
    EXPECT_EQ(f.refs, 2U);
    EXPECT_TRUE(f.validated);
    EXPECT_EQ(f.pinned, level == Level::l4);
    EXPECT_EQ(one.view.of(table_of(tree, level)), FakeView::Access::read_only);
  }
  ASSERT_TRUE(unpin(tree.l4));
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
    const Mfn mfn = table_of(tree, level);
    EXPECT_EQ(state_of(frame(mfn)), state_of(frame(one.allocate())))
        << "a table that nobody uses is a plain frame";
    EXPECT_EQ(one.view.of(mfn), FakeView::Access::read_write);
  }
  EXPECT_EQ(one.mmu.counters().tables_validated, one.mmu.counters().tables_released);
}

TEST_F(Tables, pin_and_unpin_work_in_all_pairs_of_types) {  // XSA-37
  const Mfn mfn = one.allocate();
  for (const Level first : {Level::l1, Level::l2, Level::l3, Level::l4})
    for (const Level second : {Level::l1, Level::l2, Level::l3, Level::l4}) {
      ASSERT_TRUE(pin(first, mfn));
      EXPECT_EQ(pin(second, mfn).error().rule, first == second ? Rule::pin_already : Rule::frame_wrong_type);
      EXPECT_EQ(frame(mfn).type_count, 1U);
      ASSERT_TRUE(unpin(mfn));
      ASSERT_TRUE(pin(second, mfn));
      ASSERT_TRUE(unpin(mfn));
      EXPECT_EQ(unpin(mfn).error().rule, Rule::pin_missing);
      EXPECT_EQ(frame(mfn).refs, 1U);
    }
}

TEST_F(Tables, a_frame_held_as_any_type_becomes_no_other) {
  for (const FrameType held :
       {FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4, FrameType::seg_desc, FrameType::writable})
    for (const FrameType wanted : {FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4,
                                   FrameType::seg_desc, FrameType::writable}) {
      const Mfn mfn = one.allocate();
      ASSERT_TRUE(one.mmu.hold(one.held, mfn, held));
      EXPECT_EQ(one.mmu.hold(one.held, mfn, wanted).has_value(), held == wanted);
      one.mmu.release(one.held, mfn);
      if (held == wanted) one.mmu.release(one.held, mfn);
      EXPECT_EQ(frame(mfn).type_count, 0U);
      EXPECT_EQ(frame(mfn).refs, 1U);
      ASSERT_TRUE(one.mmu.hold(one.held, mfn, wanted)) << "free to become anything once nobody relies on it";
      one.mmu.release(one.held, mfn);
      ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
    }
}

TEST_F(Tables,
       a_tree_whose_last_entry_is_bad_leaves_all_counts_as_before_however_often_it_is_pinned) {  // XSA-58
  for (const Level bad_level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
    const Tree tree = build_tree(machine, one);
    const Mfn page = one.allocate();
    machine.poke(tree.l1, 0, Pte(page, rw));
    machine.poke(table_of(tree, bad_level), 511, Pte(one.allocate(), rw | bit::pat_or_large));
    const auto before = snapshot(machine.frames);
    const auto mirrors = one.mirrors.in_use();
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(pin(Level::l4, tree.l4));
      EXPECT_EQ(snapshot(machine.frames), before) << "bad entry at level " << number(bad_level);
      EXPECT_EQ(one.mirrors.in_use(), mirrors);
      for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
        EXPECT_EQ(one.view.of(table_of(tree, level)), FakeView::Access::read_write);
    }
  }
}

TEST_F(Tables, failed_pins_use_up_no_mirrors) {
  const Mfn bad = one.allocate();
  machine.poke(bad, 511, Pte(bad, rw));
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(pin(Level::l1, bad).error().rule, Rule::l1_writable_map_of_table);
}

TEST_F(Tables,
       a_table_that_names_itself_is_refused_at_every_level_and_through_every_depth) {  // XSA-182, XSA-240
  for (const Level level : {Level::l2, Level::l3, Level::l4})
    for (const std::uint64_t flags : {table, ro}) {
      const Mfn mfn = one.allocate();
      machine.poke(mfn, 0, Pte(mfn, flags));
      EXPECT_EQ(pin(level, mfn).error().error(), Errno::einval);
      EXPECT_EQ(frame(mfn).type_count, 0U);
    }
  const Tree tree = build_tree(machine, one);
  machine.poke(tree.l2, 1, Pte(tree.l4, table));
  EXPECT_EQ(pin(Level::l4, tree.l4).error().error(), Errno::einval);
  machine.poke(tree.l2, 1, Pte());
  EXPECT_TRUE(pin(Level::l4, tree.l4));
}

TEST_F(Tables, a_chain_of_tables_of_one_level_is_refused) {  // XSA-240
  const Mfn a = one.allocate(), b = one.allocate();
  ASSERT_TRUE(pin(Level::l4, b));
  machine.poke(a, 0, Pte(b, ro));
  EXPECT_EQ(pin(Level::l4, a).error().rule, Rule::upper_linear);
  machine.poke(a, 0, Pte());
  ASSERT_TRUE(pin(Level::l4, a));
  EXPECT_EQ(update(a, 0, Pte(b, ro)).error().rule, Rule::upper_linear);
}

TEST_F(Tables, a_frame_mapped_writable_becomes_no_table_until_the_mapping_goes) {
  const Mfn l1 = one.allocate(), page = one.allocate();
  machine.poke(l1, 0, Pte(page, rw));
  ASSERT_TRUE(pin(Level::l1, l1));
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
    EXPECT_EQ(pin(level, page).error().rule, Rule::frame_wrong_type);
  EXPECT_FALSE(one.mmu.hold(one.held, page, FrameType::seg_desc));
  ASSERT_TRUE(update(l1, 0, Pte(page, ro)));
  EXPECT_TRUE(pin(Level::l2, page));
}

TEST_F(Tables, one_frame_as_table_and_as_writable_page_of_the_same_tree_is_refused_in_either_order) {
  for (const bool table_first : {true, false}) {
    const Tree tree = build_tree(machine, one, 1);
    const Mfn other = one.allocate(), both = one.allocate();
    machine.poke(other, 0, Pte(both, rw));
    machine.poke(tree.l2, table_first ? 511 : 0, Pte(other, table));
    machine.poke(tree.l2, table_first ? 0 : 511, Pte(both, table));
    const auto before = snapshot(machine.frames);
    EXPECT_FALSE(pin(Level::l4, tree.l4));
    EXPECT_EQ(snapshot(machine.frames), before);
  }
}

TEST_F(Tables, a_foreign_frame_deep_in_a_tree_is_refused_and_its_owner_never_notices) {
  const Mfn theirs = two.allocate();
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
    const Tree tree = build_tree(machine, one);
    machine.poke(table_of(tree, level), 5, Pte(theirs, ro));
    EXPECT_FALSE(pin(Level::l4, tree.l4));
    EXPECT_EQ(frame(theirs).refs, 1U);
    EXPECT_EQ(one.view.of(theirs), FakeView::Access::none);
  }
}

TEST_F(Tables, xen_slots_are_neither_read_at_validation_nor_written) {
  const Tree tree = build_tree(machine, one);
  for (std::size_t slot = first_xen_slot; slot < first_xen_slot + xen_slots; ++slot)
    machine.poke(tree.l4, slot, Pte(two.allocate(), rw | bit::pat_or_large));
  ASSERT_TRUE(pin(Level::l4, tree.l4));
  const MirrorId mirror(frame(tree.l4).mirror);
  for (std::size_t i = 0; i < xen_slots; ++i) {
    EXPECT_EQ(one.mirrors.load(mirror, first_xen_slot + i), fake_xen_slots()[i]);
    EXPECT_EQ(update(tree.l4, first_xen_slot + i, Pte()).error().rule, Rule::l4_xen_slot);
  }
  ASSERT_TRUE(unpin(tree.l4));
}

TEST_F(PinnedTree, slots_256_to_271_of_lower_levels_are_the_guests) {
  EXPECT_TRUE(update(tree.l1, 256, Pte(page, rw)));
  EXPECT_TRUE(update(tree.l2, 271, Pte(one.allocate(), table)));
  EXPECT_TRUE(update(tree.l3, 260, Pte(one.allocate(), table)));
  EXPECT_TRUE(update(tree.l4, 255, Pte(one.allocate(), table)));
  EXPECT_TRUE(update(tree.l4, 272, Pte(one.allocate(), table)));
}

TEST_F(PinnedTree, toggling_pse_in_an_upper_entry_is_refused_though_nothing_else_changes) {  // XSA-148
  const std::array<std::pair<Level, Mfn>, 3> entries{
      {{Level::l2, tree.l1}, {Level::l3, tree.l2}, {Level::l4, tree.l3}}};
  for (const auto& [level, child] : entries)
    for (const std::uint64_t more :
         {bit::pat_or_large, bit::pat_or_large | bit::writable, bit::pat_or_large | bit::dirty,
          bit::cache_disable, bit::write_through, bit::global}) {
      const Pte old = machine.peek(table_of(tree, level), 0);
      EXPECT_EQ(update(table_of(tree, level), 0, old.with(more)).error().rule, Rule::entry_bad_flags);
      EXPECT_EQ(machine.peek(table_of(tree, level), 0), old);
    }
}

TEST_F(PinnedTree, toggling_rw_in_an_l1_entry_is_checked_each_time) {  // XSA-182
  ASSERT_TRUE(update(tree.l1, 0, Pte(tree.l2, ro)));
  EXPECT_EQ(update(tree.l1, 0, Pte(tree.l2, rw)).error().rule, Rule::l1_writable_map_of_table);
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, ro)));
  EXPECT_EQ(frame(page).type_count, 0U);
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, rw)));
  EXPECT_EQ(frame(page).type_count, 1U);
  EXPECT_EQ(frame(page).refs, 2U);
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, ro)));
  EXPECT_EQ(frame(page).type_count, 0U);
  EXPECT_EQ(frame(page).refs, 2U);
}

TEST_F(PinnedTree, rw_of_an_upper_entry_may_change_and_keeps_the_childs_references) {
  const auto before = snapshot(machine.frames);
  ASSERT_TRUE(update(tree.l2, 0, Pte(tree.l1, ro)));
  EXPECT_FALSE(one.mmu.walk(one.held, tree.l4, va_of(0, 0))->writable);
  ASSERT_TRUE(update(tree.l2, 0, Pte(tree.l1, table)));
  EXPECT_EQ(snapshot(machine.frames), before);
}

TEST_F(PinnedTree, toggling_p_takes_and_drops_the_reference) {
  const Pte present(page, rw);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(update(tree.l1, 0, present));
    EXPECT_EQ(frame(page).refs, 2U);
    ASSERT_TRUE(update(tree.l1, 0, present.without(bit::present)));
    EXPECT_EQ(frame(page).refs, 1U);
    EXPECT_EQ(machine.peek(tree.l1, 0), present.without(bit::present));
  }
}

TEST_F(PinnedTree, flags_that_no_reference_depends_on_change_without_touching_a_count) {
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, rw)));
  const auto before = snapshot(machine.frames);
  for (const std::uint64_t flags :
       {rw | bit::no_execute, rw & ~bit::dirty, rw & ~bit::accessed, rw & ~bit::user, rw | bit::available,
        rw | bit::available_high, rw | bit::global}) {
    ASSERT_TRUE(update(tree.l1, 0, Pte(page, flags)));
    EXPECT_EQ(snapshot(machine.frames), before);
    EXPECT_EQ(machine.peek(tree.l1, 0), adjusted_l1(Pte(page, flags)));
    EXPECT_EQ(one.findings(), std::vector<std::string>());
  }
}

TEST_F(PinnedTree, replacing_an_entry_holds_the_new_frame_before_the_old_one_goes) {
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, rw)));
  ASSERT_TRUE(one.mmu.deallocate(one.held, page));
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, ro))) << "the entry's own reference keeps the frame";
  EXPECT_TRUE(one.mmu.owns(page));
  ASSERT_TRUE(update(tree.l1, 0, Pte()));
  EXPECT_FALSE(one.mmu.owns(page));
}

TEST_F(PinnedTree, an_entry_is_gone_from_guest_and_mirror_before_its_frame_leaves_the_domain) {
  for (const Pte now : {Pte(), Pte(one.allocate(), ro)}) {
    const Mfn mfn = one.allocate();
    ASSERT_TRUE(update(tree.l1, 0, Pte(mfn, rw)));
    ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
    int revoked = 0;
    one.view.on_revoke = [&](Mfn gone) {
      ++revoked;
      EXPECT_EQ(gone, mfn);
      EXPECT_NE(machine.peek(tree.l1, 0).mfn(), mfn);
      EXPECT_NE(one.mirrors.load(MirrorId(frame(tree.l1).mirror), 0).mfn(), mfn);
    };
    ASSERT_TRUE(update(tree.l1, 0, now));
    EXPECT_EQ(revoked, 1);
    one.view.on_revoke = nullptr;
  }
}

TEST_F(PinnedTree, a_clean_writable_mapping_counts_as_writable_until_it_goes) {
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, rw & ~bit::dirty)));
  EXPECT_EQ(frame(page).type_count, 1U);
  EXPECT_FALSE(pin(Level::l1, page));
  ASSERT_TRUE(update(tree.l1, 0, Pte()));
  EXPECT_EQ(frame(page).type_count, 0U);
  EXPECT_TRUE(pin(Level::l1, page));
}

TEST_F(PinnedTree, replacing_a_subtree_by_one_that_maps_it_writable_is_refused) {
  const Mfn other = one.allocate();
  machine.poke(other, 0, Pte(tree.l1, rw));
  EXPECT_EQ(update(tree.l2, 0, Pte(other, table)).error().rule, Rule::l1_writable_map_of_table);
  ASSERT_TRUE(update(tree.l2, 0, Pte()));
  EXPECT_TRUE(update(tree.l2, 0, Pte(other, table)));
}

TEST_F(PinnedTree, a_plain_frame_is_written_by_update_without_any_rule_and_without_a_type) {
  ASSERT_TRUE(update(page, 3, Pte(two.allocate(), ~0ULL & ~bit::address)));
  EXPECT_EQ(frame(page).refs, 1U);
  EXPECT_EQ(frame(page).type_count, 0U);
}

TEST_F(PinnedTree, update_va_reaches_the_entry_that_translates_the_address) {
  ASSERT_TRUE(one.mmu.update_va(one.held, tree.l4, va_of(0, 9), Pte(page, rw)));
  EXPECT_EQ(machine.peek(tree.l1, 9).mfn(), page);
  const auto leaf = one.mmu.walk(one.held, tree.l4, va_of(0, 9));
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->table, tree.l1);
  EXPECT_TRUE(leaf->writable);
}

TEST_F(PinnedTree, every_change_of_an_upper_entry_asks_for_a_flush) {  // XSA-286
  (void)one.mmu.take_flush_duty();
  for (const Pte want : {Pte(one.allocate(), table), Pte()})
    for (const Level level : {Level::l3, Level::l2}) {
      ASSERT_TRUE(update(table_of(tree, level), 3, want.present() ? Pte(one.allocate(), table) : want));
      EXPECT_TRUE(one.mmu.take_flush_duty());
      EXPECT_FALSE(one.mmu.take_flush_duty());
    }
}

TEST_F(PinnedTree, a_page_mapped_as_often_as_can_be_counted_is_refused_once_more) {  // XSA-249
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, rw)));
  FrameUses& uses = one.records().uses(page);
  std::uint32_t& holds = one.records().holds(page);
  const FrameUses uses_before = uses;
  const std::uint32_t holds_before = holds;
  uses.refs = uses.writable = holds = max_references;
  EXPECT_EQ(update(tree.l1, 1, Pte(page, rw)).error().rule, Rule::count_overflow);
  EXPECT_EQ(one.mmu.hold(one.held, page, FrameType::writable).error().rule, Rule::count_overflow);
  EXPECT_TRUE(update(tree.l1, 0, Pte(page, rw | bit::no_execute))) << "a change of flags counts nothing";
  uses = uses_before;
  holds = holds_before;
}

TEST_F(PinnedTree, pages_of_tables_are_not_cleared_or_copied_over) {
  EXPECT_FALSE(one.mmu.clear_page(one.held, tree.l2));
  EXPECT_FALSE(one.mmu.copy_page(one.held, tree.l2, page));
  ASSERT_TRUE(one.mmu.copy_page(one.held, page, tree.l2));
  EXPECT_EQ(machine.peek(page, 0), machine.peek(tree.l2, 0));
  ASSERT_TRUE(one.mmu.clear_page(one.held, page));
  EXPECT_EQ(machine.peek(page, 0), Pte());
}

TEST_F(Tables, a_root_is_held_while_it_is_loaded) {
  const Tree a = build_tree(machine, one), b = build_tree(machine, one);
  Mfn root = no_mfn;
  ASSERT_TRUE(one.mmu.load_root(one.held, root, a.l4));
  EXPECT_EQ(frame(a.l4).type, FrameType::l4);
  ASSERT_TRUE(one.mmu.load_root(one.held, root, a.l4)) << "again is a reload";
  EXPECT_EQ(frame(a.l4).type_count, 1U);
  EXPECT_FALSE(one.mmu.load_root(one.held, root, a.l3));
  EXPECT_EQ(root, a.l4);
  ASSERT_TRUE(one.mmu.load_root(one.held, root, b.l4));
  EXPECT_EQ(frame(a.l4).type_count, 0U);
  EXPECT_EQ(one.mmu.mirror_of_root(one.held, root), one.mirrors.frame(MirrorId(frame(b.l4).mirror)));
  one.mmu.unload_root(one.held, root);
  EXPECT_EQ(root, no_mfn);
  EXPECT_EQ(frame(b.l4).type_count, 0U);
  one.mmu.unload_root(one.held, root);
}

TEST_F(Tables, no_number_that_a_guest_passes_unloads_its_root) {
  const Tree tree = build_tree(machine, one);
  Mfn root = no_mfn;
  ASSERT_TRUE(one.mmu.load_root(one.held, root, tree.l4));
  for (const Mfn wanted : {no_mfn, Mfn(0), Mfn(128), Mfn(1ULL << 40)}) {
    EXPECT_FALSE(one.mmu.load_root(one.held, root, wanted));
    EXPECT_EQ(root, tree.l4);
  }
  one.mmu.unload_root(one.held, root);
}

TEST_F(Tables, a_released_roots_tree_that_is_pinned_elsewhere_stays) {
  const Tree tree = build_tree(machine, one);
  Mfn root = no_mfn;
  ASSERT_TRUE(one.mmu.load_root(one.held, root, tree.l4));
  ASSERT_TRUE(pin(Level::l2, tree.l2));
  one.mmu.unload_root(one.held, root);
  EXPECT_EQ(frame(tree.l3).type_count, 0U);
  EXPECT_EQ(frame(tree.l2).type_count, 1U);
  EXPECT_EQ(frame(tree.l1).type_count, 1U);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
