// Linear page tables: which entries are accepted, how they count, and what a processor sees behind them.
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

class LinearTables : public testing::Test {
 protected:
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1), {.mirrors = 64, .windows = 32}};
  Tree tree = build_tree(machine, one);
  Mfn root = no_mfn;
  bool audited = true;  ///< False: the test makes a breach, after which windows may lack entries.

  Verdict<> update(Mfn mfn, std::size_t slot, Pte want) {
    return one.mmu.update(one.held, entry_at(mfn, slot), want, Preserve::nothing);
  }
  Verdict<> pin(Level level, Mfn mfn) { return one.mmu.pin(one.held, level, mfn); }
  Verdict<> unpin(Mfn mfn) { return one.mmu.unpin(one.held, mfn); }
  Frame frame(Mfn mfn) const { return one.mmu.frame(mfn); }
  void load() { ASSERT_TRUE(one.mmu.load_root(one.held, root, tree.l4)); }
  Mfn table_of_level(Level level) {
    const Mfn mfn = one.allocate();
    EXPECT_TRUE(pin(level, mfn));
    return mfn;
  }
  static GuestVaddr va(std::size_t s4, std::size_t s3, std::size_t s2, std::size_t s1) {
    return GuestVaddr((s4 >= 256 ? 0xffffULL << 48 : 0) | s4 << 39 | s3 << 30 | s2 << 21 | s1 << 12);
  }
  /// What a processor comes to: the leaf, 0 if an entry is not present, nullopt at a window to come.
  std::optional<Pte> processor(GuestVaddr at) const {
    MirrorId mirror(frame(root).mirror);
    for (Level level = Level::l4;; level = below(level)) {
      const Pte entry = one.mirrors.load(mirror, slot_of(level, at));
      if (entry == window_to_come) return std::nullopt;
      if (!entry.present() || level == Level::l1) return entry.present() ? entry : Pte();
      mirror = one.mirrors.at(entry.mfn());
    }
  }
  std::optional<Pte> read(GuestVaddr at) {
    const Filled first = processor(at) ? Filled::nothing : Filled::some;
    EXPECT_EQ(one.mmu.fill_windows(one.held, root, at), first);
    EXPECT_EQ(one.mmu.fill_windows(one.held, root, at), Filled::nothing);
    return processor(at);
  }
  void TearDown() override {
    if (root != no_mfn) one.outside.add(root);
    EXPECT_EQ(audited ? one.findings() : std::vector<std::string>{}, std::vector<std::string>{});
    if (root != no_mfn) one.mmu.unload_root(one.held, root);
    EXPECT_EQ(one.mmu.destroy(one.held), 0U);
    EXPECT_EQ(one.mirrors.in_use(), 0U);
  }
};

TEST_F(LinearTables, a_table_of_each_level_may_name_itself_read_only_and_nothing_counts_it) {
  for (const Level level : {Level::l2, Level::l3, Level::l4}) {
    const Mfn later = table_of_level(level), found = one.allocate();
    const std::uint32_t refs = frame(later).refs;
    EXPECT_TRUE(update(later, 7, Pte(later, ro)));
    EXPECT_EQ(frame(later).refs, refs);
    machine.poke(found, 7, Pte(found, ro));
    EXPECT_TRUE(pin(level, found));
    EXPECT_EQ(frame(found).linear, 0);
    EXPECT_TRUE(unpin(found));
    EXPECT_EQ(frame(found).type, FrameType::none) << "it does not keep itself";
  }
}

TEST_F(LinearTables, rw_is_refused_and_never_comes_by_a_change_of_flags) {  // XSA-182
  for (const Level level : {Level::l2, Level::l3, Level::l4}) {
    const Mfn self = table_of_level(level), other = table_of_level(level);
    for (const Mfn named : {self, other}) {
      EXPECT_EQ(update(self, 3, Pte(named, table)).error().rule, Rule::upper_linear);
      ASSERT_TRUE(update(self, 3, Pte(named, ro)));
      for (const std::uint64_t flags :
           {table, ro | bit::writable, table | bit::no_execute, table | bit::available}) {
        EXPECT_EQ(update(self, 3, Pte(named, flags)).error().rule, Rule::upper_linear);
        EXPECT_EQ(one.mmu.update(one.held, entry_at(self, 3), Pte(named, flags), Preserve::accessed_and_dirty)
                      .error()
                      .rule,
                  Rule::upper_linear);
      }
      EXPECT_TRUE(update(self, 3, Pte(named, ro | bit::no_execute)));
      EXPECT_FALSE(machine.peek(self, 3).writable());
      // By way of an entry that is not present.
      ASSERT_TRUE(update(self, 3, Pte(named, table).without(bit::present)));
      EXPECT_EQ(update(self, 3, Pte(named, table)).error().rule, Rule::upper_linear);
    }
  }
}

TEST_F(LinearTables, a_table_that_others_name_names_no_other_and_the_other_way_round) {  // XSA-240
  for (const Level level : {Level::l2, Level::l3, Level::l4}) {
    const Mfn a = table_of_level(level), b = table_of_level(level), c = table_of_level(level);
    ASSERT_TRUE(update(a, 0, Pte(b, ro)));
    EXPECT_EQ(frame(a).linear, 1);
    EXPECT_EQ(frame(b).linear, -1);
    EXPECT_EQ(frame(b).type_count, 2U);
    EXPECT_EQ(update(b, 0, Pte(c, ro)).error().rule, Rule::upper_linear_chain);
    EXPECT_EQ(update(b, 0, Pte(a, ro)).error().rule, Rule::upper_linear_chain);
    EXPECT_EQ(update(c, 0, Pte(a, ro)).error().rule, Rule::upper_linear_chain);
    EXPECT_TRUE(update(b, 0, Pte(b, ro))) << "but itself";
    EXPECT_TRUE(update(a, 1, Pte(a, ro)));
    EXPECT_TRUE(update(c, 0, Pte(b, ro)));
    EXPECT_EQ(frame(b).linear, -2);
    ASSERT_TRUE(update(a, 0, Pte()));
    ASSERT_TRUE(update(c, 0, Pte()));
    EXPECT_EQ(frame(b).linear, 0);
    EXPECT_TRUE(update(b, 0, Pte(c, ro))) << "once nobody names it";
    EXPECT_TRUE(update(b, 0, Pte(a, ro))) << "replaced";
    EXPECT_EQ(frame(c).linear, 0);
    EXPECT_EQ(frame(a).linear, -1);
  }
}

TEST_F(LinearTables, a_table_that_is_named_lives_on_without_its_pin) {
  const Mfn a = table_of_level(Level::l4), b = table_of_level(Level::l4);
  ASSERT_TRUE(update(a, 0, Pte(b, ro)));
  ASSERT_TRUE(unpin(b));
  EXPECT_EQ(frame(b).type, FrameType::l4);
  ASSERT_TRUE(unpin(a));
  EXPECT_EQ(frame(a).type, FrameType::none);
  EXPECT_EQ(frame(b).type, FrameType::none);
}

TEST_F(LinearTables, a_table_that_is_not_validated_is_not_taken) {
  const Mfn a = table_of_level(Level::l4), big = one.allocate();
  for (std::size_t slot = 0; slot < 200; ++slot) machine.poke(big, slot, Pte(tree.l3, ro));
  one.mmu.set_budget(one.held, Budget(20));
  ASSERT_EQ(pin(Level::l4, big).error().rule, Rule::unfinished);
  one.mmu.set_budget(one.held, Budget::unlimited());
  ASSERT_TRUE(frame(big).partial);
  EXPECT_EQ(update(a, 0, Pte(big, ro)).error().rule, Rule::upper_linear);
  EXPECT_TRUE(pin(Level::l4, big));
  EXPECT_TRUE(update(a, 0, Pte(big, ro)));
}

TEST_F(LinearTables, a_check_that_fails_or_stops_behind_a_linear_entry_gives_it_back) {
  const Mfn a = one.allocate(), b = table_of_level(Level::l3);
  machine.poke(a, 3, Pte(b, ro));
  machine.poke(a, 4, Pte(a, ro));
  machine.poke(a, 500, Pte(tree.l4, ro | bit::global));
  EXPECT_FALSE(pin(Level::l3, a));
  EXPECT_EQ(frame(b).linear, 0);
  EXPECT_EQ(frame(b).type_count, 1U);
  machine.poke(a, 500, Pte());
  Verdict<> done;
  do {
    one.mmu.set_budget(one.held, Budget(3));
    done = pin(Level::l3, a);
  } while (!done && done.error().rule == Rule::unfinished);
  one.mmu.set_budget(one.held, Budget::unlimited());
  EXPECT_TRUE(done);
  EXPECT_EQ(frame(b).linear, -1);
}

TEST_F(LinearTables, where_they_are_not_allowed_they_are_refused) {
  FakeDomain other{machine, DomId(2), {.mirrors = 16}};
  const Mfn l4 = other.allocate();
  ASSERT_TRUE(other.mmu.pin(other.held, Level::l4, l4));
  EXPECT_EQ(other.mmu.update(other.held, entry_at(l4, 1), Pte(l4, ro), Preserve::nothing).error().rule,
            Rule::upper_linear);
}

TEST_F(LinearTables, through_the_recursive_slot_a_processor_reads_the_guests_own_tables) {
  machine.poke(tree.l1, 5, Pte(one.allocate(), ro));
  machine.poke(tree.l4, 300, Pte(tree.l4, ro));
  load();
  const std::array<std::pair<GuestVaddr, Mfn>, 5> wanted{{{va(300, 0, 0, 0), tree.l1},
                                                          {va(300, 300, 0, 0), tree.l2},
                                                          {va(300, 300, 300, 0), tree.l3},
                                                          {va(300, 300, 300, 300), tree.l4},
                                                          {va(300, 0, 0, 1), Mfn(0)}}};
  for (const auto& [at, table_seen] : wanted) {
    const auto leaf = read(at);
    ASSERT_TRUE(leaf);
    EXPECT_EQ(leaf->mfn(), table_seen);
    EXPECT_FALSE(leaf->writable());
    const auto walked = one.mmu.walk(one.held, root, at);
    ASSERT_TRUE(walked);
    EXPECT_TRUE(walked->linear);
    EXPECT_FALSE(walked->writable);
    EXPECT_EQ(walked->entry.mfn(), table_seen);
    EXPECT_EQ(walked->entry.present(), leaf->present());
  }
  EXPECT_EQ(one.mmu.update_va(one.held, root, va(300, 0, 0, 0), Pte()).error().rule, Rule::va_no_l1)
      << "an entry of an L2 is no L1 entry";
  EXPECT_FALSE(one.mmu.walk(one.held, root, va(300, 256, 0, 0))) << "the monitor's slots";
}

TEST_F(LinearTables, what_changes_below_is_seen_without_another_fault) {
  machine.poke(tree.l4, 300, Pte(tree.l4, ro));
  load();
  ASSERT_EQ(read(va(300, 0, 0, 0))->mfn(), tree.l1);
  const Mfn fresh = one.allocate();
  ASSERT_TRUE(update(tree.l2, 9, Pte(fresh, table)));
  EXPECT_EQ(processor(va(300, 0, 0, 9))->mfn(), fresh);
  (void)one.stale.drop_below(one.stale.end());
  (void)one.mmu.take_flush_duty();
  ASSERT_TRUE(update(tree.l2, 9, Pte()));
  EXPECT_EQ(*processor(va(300, 0, 0, 9)), Pte());
  EXPECT_TRUE(one.mmu.take_flush_duty());
  EXPECT_EQ(one.stale.entries().size(), 3U) << "of the mirror, of the window, and the L1's mirror";
}

TEST_F(LinearTables, an_alternate_slot_shows_another_address_space_until_it_is_cleared) {
  Tree other = build_tree(machine, one);
  machine.poke(other.l4, 300, Pte(other.l4, ro));
  machine.poke(tree.l4, 300, Pte(tree.l4, ro));
  ASSERT_TRUE(pin(Level::l4, other.l4));
  load();
  ASSERT_TRUE(update(tree.l4, 301, Pte(other.l4, ro)));
  EXPECT_EQ(read(va(301, 0, 0, 0))->mfn(), other.l1);
  EXPECT_EQ(read(va(301, 300, 0, 0))->mfn(), other.l2);
  EXPECT_EQ(read(va(300, 301, 300, 0))->mfn(), other.l3);
  EXPECT_EQ(read(va(300, 301, 0, 0))->mfn(), other.l2);
  EXPECT_EQ(read(va(300, 0, 0, 0))->mfn(), tree.l1);
  ASSERT_TRUE(update(tree.l4, 301, Pte()));
  EXPECT_EQ(*processor(va(301, 0, 0, 0)), Pte());
  EXPECT_EQ(*processor(va(300, 301, 0, 0)), Pte());
  ASSERT_TRUE(unpin(other.l4));
  EXPECT_EQ(frame(other.l4).type, FrameType::none);
}

TEST_F(LinearTables, windows_of_a_table_that_ends_wait_for_a_flush) {
  machine.poke(tree.l4, 300, Pte(tree.l4, ro));
  const std::uint64_t before = one.mirrors.in_use();
  load();
  (void)read(va(300, 300, 300, 300));
  const std::uint64_t windows = one.mmu.windows().count();
  EXPECT_EQ(windows, 3U);
  EXPECT_EQ(one.mirrors.in_use(), before + 4 + windows);
  one.mmu.unload_root(one.held, root);
  root = no_mfn;
  EXPECT_EQ(one.mmu.windows().count(), 0U);
  EXPECT_EQ(one.mirrors.in_use(), before);
  EXPECT_EQ(one.mirrors.retired(), 4 + windows) << "a processor may know them all";
}

TEST_F(LinearTables, l3_and_l2_tables_name_their_own_level_in_one_path) {
  machine.poke(tree.l3, 10, Pte(tree.l3, ro));
  machine.poke(tree.l2, 20, Pte(tree.l2, ro));
  load();
  EXPECT_EQ(read(va(0, 0, 20, 0))->mfn(), tree.l1) << "the L2 taken for an L1";
  EXPECT_EQ(read(va(0, 0, 20, 20))->mfn(), tree.l2);
  EXPECT_EQ(read(va(0, 10, 0, 0))->mfn(), tree.l1);
  EXPECT_EQ(read(va(0, 10, 0, 20))->mfn(), tree.l2);
  EXPECT_EQ(read(va(0, 10, 10, 0))->mfn(), tree.l2);
  EXPECT_EQ(read(va(0, 10, 10, 10))->mfn(), tree.l3);
}

TEST_F(LinearTables, with_all_windows_in_use_an_entry_is_refused_and_a_fault_is_the_guests) {
  FakeDomain other{machine, DomId(2), {.mirrors = 32, .windows = 1}};
  const Tree t = build_tree(machine, other);
  machine.poke(t.l4, 300, Pte(t.l4, ro));
  Mfn its_root = no_mfn;
  ASSERT_TRUE(other.mmu.load_root(other.held, its_root, t.l4));
  EXPECT_EQ(other.mmu.fill_windows(other.held, its_root, va(300, 0, 0, 0)), Filled::full);
  EXPECT_EQ(other.mmu.update(other.held, entry_at(t.l3, 1), Pte(t.l3, ro), Preserve::nothing).error().rule,
            Rule::mirror_exhausted);
  other.mmu.unload_root(other.held, its_root);
}

TEST_F(LinearTables, a_table_that_was_written_past_the_view_leads_to_no_window) {
  machine.poke(tree.l4, 300, Pte(tree.l4, ro));
  load();
  audited = false;
  const Pte stored = machine.peek(tree.l3, 0);
  machine.poke(tree.l3, 0, Pte(tree.l1, stored.flags()));
  (void)one.mmu.fill_windows(one.held, root, va(300, 0, 0, 0));
  EXPECT_FALSE(one.mmu.walk(one.held, root, va(300, 0, 0, 0)));
  EXPECT_EQ(processor(va(300, 0, 0, 0)).value_or(Pte()), Pte());
  ASSERT_NE(one.mmu.breach(), nullptr);
  EXPECT_EQ(one.mmu.breach()->table, tree.l3);
  machine.poke(tree.l3, 0, stored);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
