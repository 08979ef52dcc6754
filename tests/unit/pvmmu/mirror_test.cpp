// The frames of mirrors, and the log of mirror entries that processors may still have cached.
#include <gtest/gtest.h>

#include <set>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

void log_change(StaleLog& log, MirrorId mirror, std::size_t slot) {
  log.changed(mirror, slot, Pte(Mfn(1), test::rw));
}

TEST(MirrorArena, hands_out_each_frame_once_and_never_frame_0) {
  const PageMemory memory(9);
  MirrorArena arena(memory.pages(), first_mirror_frame);
  std::set<std::uint32_t> ids;
  while (const auto id = arena.take()) {
    EXPECT_NE(*id, no_mirror);
    EXPECT_TRUE(ids.insert(id->raw()).second);
    EXPECT_EQ(arena.frame(*id), first_mirror_frame.plus(id->raw()));
  }
  EXPECT_EQ(ids.size(), 8U);
  EXPECT_EQ(arena.in_use(), 8U);
}

TEST(MirrorArena, does_not_hand_out_a_retired_mirror_before_processors_forgot_it) {
  const PageMemory memory(3);
  MirrorArena arena(memory.pages(), first_mirror_frame);
  const MirrorId a = arena.take().value();
  (void)arena.take();
  arena.retire(a);
  EXPECT_EQ(arena.in_use(), 1U);
  EXPECT_FALSE(arena.take());
  arena.reuse_retired(1);
  EXPECT_EQ(arena.take(), a);
}

TEST(MirrorArena, reuses_only_as_many_as_are_forgotten_and_those_that_were_retired_first) {
  const PageMemory memory(4);
  MirrorArena arena(memory.pages(), first_mirror_frame);
  const MirrorId first = arena.take().value(), second = arena.take().value(), third = arena.take().value();
  for (const MirrorId id : {second, first, third}) arena.retire(id);
  arena.reuse_retired(1);
  EXPECT_EQ(arena.retired(), 2U);
  EXPECT_EQ(arena.take(), second);
  EXPECT_FALSE(arena.take());
}

TEST(MirrorArena, hands_out_at_once_what_no_processor_ever_saw) {
  const PageMemory memory(2);
  MirrorArena arena(memory.pages(), first_mirror_frame);
  const MirrorId a = arena.take().value();
  arena.give_back(a);
  EXPECT_EQ(arena.take(), a);
}

TEST(MirrorArena, lets_go_of_memory_of_those_that_were_free_longest_once_each) {
  const PageMemory memory(20);
  MirrorArena arena(memory.pages(), first_mirror_frame);
  std::vector<MirrorId> taken;
  for (int i = 0; i < 10; ++i) taken.push_back(arena.take().value());
  std::vector<MirrorId> dry;
  const auto let_go = [&](std::size_t kept, std::size_t most) {
    dry.clear();
    arena.let_go_of_memory(kept, most, [&](MirrorId id) { dry.push_back(id); });
    return dry;
  };
  using Ids = std::vector<MirrorId>;
  EXPECT_EQ(let_go(0, 100), Ids()) << "none is free";
  for (int i = 0; i < 8; ++i) arena.retire(taken[static_cast<std::size_t>(i)]);
  EXPECT_EQ(let_go(0, 100), Ids()) << "processors may walk those";
  arena.reuse_retired(8);
  EXPECT_EQ(let_go(8, 100), Ids());
  EXPECT_EQ(let_go(4, 3), Ids(taken.begin(), taken.begin() + 3));
  EXPECT_EQ(let_go(4, 3), Ids(taken.begin() + 3, taken.begin() + 4));
  EXPECT_EQ(let_go(4, 3), Ids());
  // A mirror that was taken again and given back has memory again; the others still have none.
  for (int i = 7; i >= 2; --i) EXPECT_EQ(arena.take(), taken[static_cast<std::size_t>(i)]);
  for (int i = 2; i < 8; ++i) arena.give_back(taken[static_cast<std::size_t>(i)]);
  EXPECT_EQ(let_go(0, 100), Ids(taken.begin() + 2, taken.begin() + 8));
}

TEST(MirrorArena, has_room_for_a_guest_whose_frames_are_all_tables) {
  for (const std::uint64_t frames : {1UL, 4096UL, first_monitor_frame.raw()})
    EXPECT_GE(most_mirrors(frames), frames + most_windows(frames) + StaleLog::enough + 4 * 512);
}

TEST(StaleLog, that_is_not_enabled_stays_empty) {
  StaleLog log(false);
  log_change(log, MirrorId(1), 0);
  log.retired(MirrorId(1));
  EXPECT_TRUE(log.empty());
}

TEST(StaleLog, covers_every_change_however_they_come) {
  StaleLog log(true);
  std::set<std::pair<std::uint32_t, std::size_t>> changed;
  std::uint32_t state = 1;
  for (int i = 0; i < 5000; ++i) {
    state = state * 1664525 + 1013904223;
    const MirrorId mirror(1 + (state >> 28 & 1));
    const std::size_t slot = state >> 16 & 511;
    log_change(log, mirror, slot);
    changed.emplace(mirror.raw(), slot);
    if (i % 97 == 0) {
      log.retired(mirror);
      for (std::size_t s = 0; s < entries_per_table; ++s) changed.emplace(mirror.raw(), s);
    }
  }
  std::set<std::pair<std::uint32_t, std::size_t>> covered;
  for (const auto& e : log.entries())
    for (std::size_t s = 0; s < entries_per_table; ++s)
      if (e.whole_table || e.slot == s) covered.emplace(e.table.raw(), s);
  for (const auto& c : changed) EXPECT_TRUE(covered.contains(c)) << c.first << " slot " << c.second;
}

TEST(StaleLog, needs_no_more_entries_of_a_table_that_is_stale_as_a_whole) {
  StaleLog log(true);
  log.retired(MirrorId(1));
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) log_change(log, MirrorId(1), slot);
  EXPECT_EQ(log.entries().size(), 1U);
}

TEST(StaleLog, asks_to_be_drained_before_it_grows_without_end) {
  StaleLog log(true);
  for (std::size_t i = 0; i < StaleLog::enough; ++i) {
    EXPECT_FALSE(log.wants_draining());
    log_change(log, MirrorId(static_cast<std::uint32_t>(1 + i % 2)), i % entries_per_table);
  }
  EXPECT_TRUE(log.wants_draining());
}

TEST(StaleLog, remembers_what_a_processor_may_have_cached) {
  StaleLog log(true);
  log.changed(MirrorId(1), 5, Pte(Mfn(7), test::rw));
  ASSERT_EQ(log.entries().size(), 1U);
  EXPECT_EQ(log.entries()[0].before, Pte(Mfn(7), test::rw));
}

TEST(StaleLog, forgets_what_was_taken_care_of_and_only_that) {
  StaleLog log(true);
  for (std::size_t slot = 0; slot < 5; ++slot) log_change(log, MirrorId(1), slot);
  EXPECT_EQ(log.drop_below(3), 0U);
  ASSERT_EQ(log.entries().size(), 2U);
  EXPECT_EQ(log.entries()[0].slot, 3U);
  EXPECT_EQ(log.drop_below(2), 0U) << "done before, by another processor";
  EXPECT_EQ(log.entries().size(), 2U);
  EXPECT_EQ(log.drop_below(100), 0U);
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.end(), 5U);
}

TEST(StaleLog, tells_how_many_retired_mirrors_were_taken_care_of) {
  StaleLog log(true);
  log_change(log, MirrorId(1), 0);
  log.retired(MirrorId(2));
  log_change(log, MirrorId(1), 1);
  log.retired(MirrorId(3));
  EXPECT_EQ(log.drop_below(3), 1U);
  EXPECT_EQ(log.drop_below(4), 1U);
}

class StaleEntries : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
    ASSERT_TRUE(one.stale.empty()) << "a table that becomes one was walked by nobody";
  }
  void update(Mfn frame, std::size_t slot, Pte want) {
    ASSERT_TRUE(one.mmu.update(one.held, entry_at(frame, slot), want, Preserve::nothing));
  }
  bool logged(Mfn frame, std::size_t slot) {
    for (const auto& e : one.stale.entries())
      if (e.table == MirrorId(machine.frames[frame].mirror) && (e.whole_table || e.slot == slot)) return true;
    return false;
  }
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  Tree tree = build_tree(machine, one);
  Mfn page = one.allocate(), other = one.allocate();
};

TEST_F(StaleEntries, changes_that_allow_more_are_not_logged) {
  update(tree.l1, 0, Pte(page, ro | bit::no_execute));
  update(tree.l1, 0, Pte(page, ro));
  update(tree.l1, 0, Pte(page, rw));
  update(tree.l2, 1, Pte(other, table));
  EXPECT_TRUE(one.stale.empty());
}

TEST_F(StaleEntries, changes_that_allow_less_or_another_frame_are_logged) {
  const std::array<std::pair<Pte, Pte>, 5> narrowing{{{Pte(page, rw), Pte(page, ro)},
                                                      {Pte(page, rw), Pte()},
                                                      {Pte(page, ro), Pte(other, ro)},
                                                      {Pte(page, ro), Pte(page, ro | bit::no_execute)},
                                                      {Pte(page, rw), Pte(page, rw & ~bit::dirty)}}};
  for (const auto& [from, to] : narrowing) {
    update(tree.l1, 3, from);
    one.stale.drop_below(one.stale.end());
    update(tree.l1, 3, to);
    EXPECT_TRUE(logged(tree.l1, 3)) << std::hex << from.raw() << " to " << to.raw();
  }
}

TEST_F(StaleEntries, an_upper_entry_that_goes_is_logged_and_its_tables_mirror_is_not_reused_at_once) {
  const MirrorId mirror(machine.frames[tree.l1].mirror);
  update(tree.l2, 0, Pte());
  EXPECT_TRUE(logged(tree.l2, 0));
  bool retired = false;
  for (const auto& e : one.stale.entries()) retired = retired || (e.table == mirror && e.whole_table);
  EXPECT_TRUE(retired);
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, other));
  EXPECT_NE(machine.frames[other].mirror, mirror.raw());
  ASSERT_TRUE(one.mmu.unpin(one.held, other));
  one.mmu.stale_entries_settled(one.held, one.stale.end());
  bool reused = false;
  for (const Mfn mfn : {page, other}) {
    ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, mfn));
    reused = reused || machine.frames[mfn].mirror == mirror.raw();
  }
  EXPECT_TRUE(reused);
}

TEST_F(StaleEntries, hiding_the_machphys_table_from_a_root_is_logged_and_hides_nothing_else) {
  one.mmu.hide_machphys(one.held, tree.l4);
  EXPECT_TRUE(logged(tree.l4, first_xen_slot));
  const MirrorId mirror(machine.frames[tree.l4].mirror);
  EXPECT_EQ(one.mirrors.load(mirror, first_xen_slot), Pte());
  EXPECT_EQ(one.mirrors.load(mirror, first_xen_slot + 1), fake_xen_slots()[1]);
  EXPECT_EQ(one.findings(), std::vector<std::string>());
}

}  // namespace
}  // namespace pinfold::pvmmu::test
