// What the resident path finishes, what it leaves, and which windows it has for that.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "native_resident.hpp"

namespace pinfold::pvmmu {
namespace {

using test::ro;
using test::rw;
using test::table;

/// A domain with a whole tree of tables, whose L1 maps `data` writable at slot 1.
struct Tree {
  explicit Tree(test::FakeDomainOptions options = {}) : one(machine, DomId(1), options) {
    for (Mfn* mfn : {&l4, &l3, &l2, &l1, &data, &other}) *mfn = one.allocate();
    machine.poke(l4, 0, Pte(l3, table));
    machine.poke(l3, 0, Pte(l2, table));
    machine.poke(l2, 0, Pte(l1, table));
    machine.poke(l1, 1, Pte(data, rw));
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, l4));
  }
  [[nodiscard]] ResidentWork update(MachineAddr where, Pte want, bool keep = false) {
    return test::finish_resident(one.mmu, where, want, keep);
  }
  [[nodiscard]] ResidentWork update(std::size_t slot, Pte want, bool keep = false) {
    return update(entry_address(l1, slot), want, keep);
  }
  /// The frame, of any type but `none`, may be written: it has been mapped before.
  void make_data(Mfn mfn) {
    EXPECT_TRUE(one.mmu.update(one.held, entry_address(l1, 500), Pte(mfn, rw), Preserve::nothing));
    EXPECT_TRUE(one.mmu.update(one.held, entry_address(l1, 500), Pte(), Preserve::nothing));
  }
  [[nodiscard]] Pte mirrored(std::size_t slot) {
    return one.mirrors.load(MirrorId(one.mmu.facts(l1).mirror), slot);
  }
  ~Tree() { EXPECT_EQ(one.findings(), std::vector<std::string>()); }

  test::FakeMachine machine{64};
  test::FakeDomain one, two{machine, DomId(2)};
  Mfn l4, l3, l2, l1, data, other;
};

TEST(Resident, sets_changes_and_clears_an_entry_with_its_mirror_and_counts) {
  Tree t;
  t.make_data(t.other);
  EXPECT_EQ(t.update(7, Pte(t.other, rw)), ResidentWork::l1_entry);
  EXPECT_EQ(t.machine.peek(t.l1, 7).mfn(), t.other);
  EXPECT_EQ(t.mirrored(7).mfn(), t.other);
  EXPECT_TRUE(t.mirrored(7).writable());
  EXPECT_EQ(t.update(7, Pte(t.data, ro)), ResidentWork::l1_entry);
  EXPECT_EQ(t.update(7, Pte(t.data, ro | bit::no_execute)), ResidentWork::l1_entry);
  EXPECT_EQ(t.update(7, Pte()), ResidentWork::l1_entry);
  EXPECT_EQ(t.mirrored(7), Pte());
}

TEST(Resident, keeps_accessed_and_dirty_bits_if_it_is_asked_to) {
  Tree t;
  EXPECT_EQ(t.update(1, Pte(t.data, rw & ~(bit::accessed | bit::dirty)), true), ResidentWork::l1_entry);
  EXPECT_TRUE(t.machine.peek(t.l1, 1).has(bit::accessed | bit::dirty));
  EXPECT_EQ(t.update(1, Pte(t.data, rw & ~(bit::accessed | bit::dirty))), ResidentWork::l1_entry);
  EXPECT_FALSE(t.machine.peek(t.l1, 1).any(bit::accessed | bit::dirty));
}

TEST(Resident, leaves_what_the_monitor_would_refuse) {
  Tree t;
  const Mfn foreign = t.two.allocate();
  for (const Pte want : {Pte(foreign, ro), Pte(t.l1, rw), Pte(t.l2, rw), Pte(Mfn(64), ro), Pte(Mfn(0), ro),
                         Pte(t.data, rw | bit::pat_or_large), Pte(bit::address | bit::present)}) {
    EXPECT_EQ(t.update(7, want), ResidentWork::none) << std::hex << want.raw();
    EXPECT_EQ(t.machine.peek(t.l1, 7), Pte());
  }
  EXPECT_EQ(t.update(entry_address(foreign, 0), Pte()), ResidentWork::none);
  EXPECT_EQ(t.update(MachineAddr(64 * page_size), Pte()), ResidentWork::none);
  EXPECT_EQ(t.update(MachineAddr(~0ULL & ~7ULL), Pte()), ResidentWork::none);
}

TEST(Resident, leaves_a_writable_entry_of_a_frame_without_a_type) {
  Tree t;
  ASSERT_EQ(t.one.mmu.facts(t.other).type, FrameType::none);
  EXPECT_EQ(t.update(7, Pte(t.other, rw)), ResidentWork::none);
  EXPECT_EQ(t.update(7, Pte(t.other, ro)), ResidentWork::l1_entry);
}

/// Where a VM has the records, it could not give the type.
TEST(Resident, maps_any_plain_frame_writable_where_the_vm_has_the_records) {
  Tree t({.records_in_vm = true});
  EXPECT_EQ(t.update(7, Pte(t.other, rw)), ResidentWork::l1_entry);
  EXPECT_EQ(t.update(7, Pte()), ResidentWork::l1_entry);
  for (const Level level : {Level::l1, Level::l2, Level::l4}) {
    ASSERT_TRUE(t.one.mmu.pin(t.one.held, level, t.other));
    EXPECT_EQ(t.update(7, Pte(t.other, rw)), ResidentWork::none);
    ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
    EXPECT_EQ(t.update(7, Pte(t.other, rw)), ResidentWork::l1_entry);
    EXPECT_FALSE(t.one.mmu.pin(t.one.held, level, t.other)) << "it is mapped writable";
    EXPECT_EQ(t.update(7, Pte()), ResidentWork::l1_entry);
  }
}

TEST(Resident, changes_the_entry_of_an_address) {
  Tree t;
  t.make_data(t.other);
  const auto update_va = [&](GuestVaddr va, Pte want, Mfn root) {
    return test::finish_update_va(t.one.mmu, root, va, want);
  };
  EXPECT_TRUE(update_va(GuestVaddr(7 * page_size + 5), Pte(t.other, rw), t.l4));
  EXPECT_EQ(t.machine.peek(t.l1, 7).mfn(), t.other);
  EXPECT_FALSE(update_va(GuestVaddr(7 * page_size), Pte(t.l2, rw), t.l4));
  EXPECT_FALSE(update_va(GuestVaddr(1ULL << 21), Pte(), t.l4)) << "there is no L1";
  for (const Mfn root : {t.l3, t.data, Mfn(64), no_mfn})
    EXPECT_FALSE(update_va(GuestVaddr(7 * page_size), Pte(), root));
  EXPECT_TRUE(update_va(GuestVaddr(7 * page_size), Pte(), t.l4));
}

TEST(Resident, loads_roots_that_are_checked_and_nothing_else) {
  Tree t;
  EXPECT_TRUE(test::may_load_root(t.one.mmu, t.l4));
  const Mfn foreign = t.two.allocate();
  ASSERT_TRUE(t.two.mmu.pin(t.two.held, Level::l4, foreign));
  for (const Mfn root : {t.l3, t.l2, t.l1, t.data, foreign, Mfn(0), Mfn(64), no_mfn})
    EXPECT_FALSE(test::may_load_root(t.one.mmu, root));
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.l4));
  EXPECT_FALSE(test::may_load_root(t.one.mmu, t.l4));
  ASSERT_TRUE(t.two.mmu.unpin(t.two.held, foreign));
}

/// The check of its entries is not finished, or their release.
TEST(Resident, does_not_load_a_root_that_is_half_checked) {
  Tree t;
  for (std::size_t slot = 0; slot < 200; ++slot) t.machine.poke(t.other, slot, Pte(t.l3, table));
  t.one.mmu.set_budget(t.one.held, Budget(50));
  ASSERT_FALSE(t.one.mmu.pin(t.one.held, Level::l4, t.other));
  ASSERT_TRUE(t.one.mmu.frame(t.other).partial);
  EXPECT_FALSE(test::may_load_root(t.one.mmu, t.other));
  t.one.mmu.set_budget(t.one.held, Budget::unlimited());
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l4, t.other));
  EXPECT_TRUE(test::may_load_root(t.one.mmu, t.other));
  t.one.mmu.set_budget(t.one.held, Budget(50));
  (void)t.one.mmu.unpin(t.one.held, t.other);
  ASSERT_TRUE(t.one.mmu.frame(t.other).partial);
  EXPECT_FALSE(test::may_load_root(t.one.mmu, t.other));
  t.one.mmu.set_budget(t.one.held, Budget::unlimited());
  EXPECT_TRUE(t.one.mmu.finish_releases(t.one.held));
}

TEST(SettledRoots, have_the_references_that_loaded_ones_have) {
  Tree t;
  Mfn root = no_mfn;
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l4, t.other));
  EXPECT_TRUE(t.one.mmu.settle_root(t.one.held, root, t.l4));
  EXPECT_EQ(t.one.mmu.frame(t.l4).type_count, 2U);
  EXPECT_TRUE(t.one.mmu.settle_root(t.one.held, root, t.l4));
  EXPECT_EQ(t.one.mmu.frame(t.l4).type_count, 2U);
  EXPECT_TRUE(t.one.mmu.settle_root(t.one.held, root, t.other));
  EXPECT_EQ(root, t.other);
  EXPECT_EQ(t.one.mmu.frame(t.l4).type_count, 1U);
  EXPECT_EQ(t.one.mmu.frame(t.other).type_count, 2U);
  // The last reference of the old one: it is released by the next operation at the latest.
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
  EXPECT_TRUE(t.one.mmu.settle_root(t.one.held, root, no_mfn));
  EXPECT_EQ(root, no_mfn);
  EXPECT_TRUE(t.one.mmu.finish_releases(t.one.held));
  EXPECT_FALSE(is_protected(t.one.mmu.facts(t.other).type));
}

TEST(SettledRoots, are_checked_tables_of_the_domain) {
  Tree t;
  const Mfn foreign = t.two.allocate();
  ASSERT_TRUE(t.two.mmu.pin(t.two.held, Level::l4, foreign));
  Mfn root = t.l4;
  ASSERT_TRUE(t.one.mmu.hold(t.one.held, t.l4, FrameType::l4));
  for (const Mfn wrong : {t.l3, t.l1, t.data, foreign, Mfn(0), Mfn(64), Mfn(1ULL << 52)}) {
    EXPECT_FALSE(t.one.mmu.settle_root(t.one.held, root, wrong));
    EXPECT_EQ(root, t.l4);
  }
  EXPECT_EQ(t.one.mmu.frame(t.l4).type_count, 2U);
  t.one.mmu.release(t.one.held, t.l4);
  ASSERT_TRUE(t.two.mmu.unpin(t.two.held, foreign));
}

TEST(Resident, leaves_frames_that_the_guest_has_given_up) {
  Tree t;
  ASSERT_TRUE(t.one.mmu.deallocate(t.one.held, t.data));
  EXPECT_EQ(t.update(1, Pte()), ResidentWork::none);
  EXPECT_EQ(t.update(7, Pte(t.data, ro)), ResidentWork::none);
  EXPECT_TRUE(t.one.mmu.owns(t.data));
}

TEST(Resident, leaves_an_entry_that_is_not_as_it_was_stored) {
  Tree t;
  t.machine.poke(t.l1, 1, Pte(t.other, rw));
  EXPECT_EQ(t.update(1, Pte()), ResidentWork::none);
  EXPECT_EQ(t.update(1, Pte(t.data, ro)), ResidentWork::none);
  t.machine.poke(t.l1, 1, Pte(t.data, rw));
}

TEST(Resident, clears_empty_entries_of_upper_tables_and_nothing_else_there) {
  Tree t;
  for (const Mfn upper : {t.l2, t.l3, t.l4}) {
    EXPECT_EQ(t.update(entry_address(upper, 5), Pte()), ResidentWork::same_upper_entry);
    EXPECT_EQ(t.update(entry_address(upper, 0), Pte()), ResidentWork::none);
    EXPECT_EQ(t.update(entry_address(upper, 5), Pte(2)), ResidentWork::none);
  }
  EXPECT_EQ(t.update(entry_address(t.l3, 5), Pte(t.l2, table)), ResidentWork::none);
  for (const std::size_t slot : {256, 271})
    EXPECT_EQ(t.update(entry_address(t.l4, slot), Pte()), ResidentWork::none);
  EXPECT_EQ(t.update(entry_address(t.l4, 272), Pte()), ResidentWork::same_upper_entry);
}

TEST(Resident, does_not_take_a_hidden_machphys_slot_for_an_empty_one) {
  Tree t;
  t.one.mmu.hide_machphys(t.one.held, t.l4);
  EXPECT_EQ(t.update(entry_address(t.l4, 256), Pte()), ResidentWork::none);
}

TEST(Resident, writes_data_only_where_it_has_a_window) {
  Tree t;
  EXPECT_EQ(t.update(entry_address(t.data, 3), Pte(42)), ResidentWork::none);
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, t.other));
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
  EXPECT_EQ(t.update(entry_address(t.other, 3), Pte(42)), ResidentWork::plain_data);
  EXPECT_EQ(t.machine.peek(t.other, 3), Pte(42));
  t.machine.poke(t.other, 3, Pte());
}

/// The L1 maps itself, or another page of the tree, read-only at slot 2.
struct Stores : testing::Test {
  void map(Mfn mfn) {
    ASSERT_TRUE(t.one.mmu.update(t.one.held, entry_address(t.l1, 2), Pte(mfn, ro), Preserve::nothing));
  }
  [[nodiscard]] std::optional<Pte> store(std::size_t slot, L1Change change, Mfn root) {
    return test::finish_store(t.one.mmu, root, GuestVaddr(2 * page_size + 8 * slot), change);
  }
  [[nodiscard]] std::optional<Pte> store(std::size_t slot, L1Change change) {
    return store(slot, change, t.l4);
  }
  Tree t;
  static constexpr auto plain = L1Change::Kind::exchange, clears = L1Change::Kind::clear_bits;
};

TEST_F(Stores, to_a_mapped_l1_are_finished_and_tell_what_was_there) {
  map(t.l1);
  const auto old = store(1, {plain, Pte()});
  ASSERT_TRUE(old);
  EXPECT_EQ(old->mfn(), t.data);
  EXPECT_EQ(t.machine.peek(t.l1, 1), Pte());
  EXPECT_EQ(t.mirrored(1), Pte());
}

TEST_F(Stores, tell_the_accessed_bit_that_a_processor_set) {
  ASSERT_TRUE(t.one.mmu.update(t.one.held, entry_address(t.l1, 1), Pte(t.data, ro & ~bit::accessed),
                               Preserve::nothing));
  map(t.l1);
  const MirrorId mirror(t.one.mmu.facts(t.l1).mirror);
  t.one.mirrors.store(mirror, 1, t.mirrored(1).with(bit::accessed));
  const auto old = store(1, {clears, Pte(bit::user)});
  ASSERT_TRUE(old);
  EXPECT_TRUE(old->has(bit::accessed));
  EXPECT_TRUE(t.machine.peek(t.l1, 1).has(bit::accessed));
}

TEST_F(Stores, that_clear_bits_keep_the_others) {
  map(t.l1);
  ASSERT_TRUE(store(1, {clears, Pte(bit::writable)}));
  EXPECT_EQ(t.machine.peek(t.l1, 1).mfn(), t.data);
  EXPECT_FALSE(t.machine.peek(t.l1, 1).writable());
  EXPECT_EQ(t.one.mmu.frame(t.data).type_count, 0U);
}

TEST_F(Stores, that_would_be_refused_are_left) {
  map(t.l1);
  EXPECT_FALSE(store(1, {plain, Pte(t.l2, rw)}));
  EXPECT_EQ(t.machine.peek(t.l1, 1).mfn(), t.data);
}

TEST_F(Stores, to_anything_but_an_l1_are_left) {
  for (const Mfn mfn : {t.l2, t.l3, t.l4, t.data}) {
    map(mfn);
    EXPECT_FALSE(store(5, {plain, Pte()}));
  }
}

TEST_F(Stores, through_tables_that_are_none_are_left) {
  map(t.l1);
  for (const Mfn root : {t.l3, t.data, Mfn(0), Mfn(64), no_mfn}) EXPECT_FALSE(store(1, {plain, Pte()}, root));
  EXPECT_FALSE(test::finish_store(t.one.mmu, t.l4, GuestVaddr(1ULL << 39), {plain, Pte()}));
}

TEST_F(Stores, that_the_tables_forbid_are_the_guests_faults) {
  const auto kind = [&](Mfn root) {
    return test::target_of_store(t.one.mmu, root, GuestVaddr(2 * page_size));
  };
  using Kind = StoreTarget::Kind;
  for (const Mfn mfn : {t.data, t.l2, t.l4}) {
    map(mfn);
    EXPECT_EQ(kind(t.l4), Kind::forbidden);
  }
  map(t.l1);
  EXPECT_EQ(kind(t.l4), Kind::l1_entry);
  EXPECT_EQ(kind(t.l3), Kind::unknown);
  // Permitted: the translation was old, or the page is clean.
  ASSERT_TRUE(t.one.mmu.update(t.one.held, entry_address(t.l1, 2), Pte(t.data, rw), Preserve::nothing));
  EXPECT_EQ(kind(t.l4), Kind::unknown);
  // A level above forbids it.
  ASSERT_TRUE(t.one.mmu.update(t.one.held, entry_address(t.l3, 0), Pte(t.l2, table & ~bit::writable),
                               Preserve::nothing));
  EXPECT_EQ(kind(t.l4), Kind::forbidden);
  ASSERT_TRUE(t.one.mmu.update(t.one.held, entry_address(t.l1, 2), Pte(), Preserve::nothing));
  EXPECT_EQ(kind(t.l4), Kind::unknown) << "that is another fault";
}

/// There a processor takes the L2 for an L1, so that the L1 is a page. The entry in the L2 has RW: it is no
/// read-only mapping, and the guest gets its fault.
TEST(LinearStores, behind_a_linear_entry_are_left) {
  Tree t({.windows = 16});
  constexpr std::size_t self = 5;
  ASSERT_TRUE(t.one.mmu.update(t.one.held, entry_address(t.l4, self), Pte(t.l4, table & ~bit::writable),
                               Preserve::nothing));
  const GuestVaddr through(self << 39 | 8);
  EXPECT_FALSE(test::finish_store(t.one.mmu, t.l4, through, {L1Change::Kind::exchange, Pte()}));
  EXPECT_EQ(t.machine.peek(t.l1, 1).mfn(), t.data);
}

/// A guest wrote its L2 past the view: the L1 there is none of its tables.
TEST_F(Stores, do_not_follow_forged_entries_out_of_the_domain) {
  map(t.l1);
  const Pte stored = t.machine.peek(t.l2, 0);
  const Mfn foreign = t.two.allocate();
  for (const Mfn mfn : {foreign, t.data, Mfn(1ULL << 39)}) {
    t.machine.poke(t.l2, 0, Pte(mfn, table));
    EXPECT_FALSE(store(1, {plain, Pte()}));
  }
  t.machine.poke(t.l2, 0, stored);
}

TEST(Windows, are_opened_for_an_l1_and_stay_open_until_another_protected_type) {
  Tree t;
  EXPECT_TRUE(t.one.view.is_window_open(t.l1));
  for (const Mfn mfn : {t.l4, t.l3, t.l2, t.data}) EXPECT_FALSE(t.one.view.is_window_open(mfn));
  const std::uint64_t opened = t.one.view.windows_opened;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, t.other));
    ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
  }
  EXPECT_TRUE(t.one.view.is_window_open(t.other));
  EXPECT_EQ(t.one.view.windows_opened, opened + 1);
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l2, t.other));
  EXPECT_FALSE(t.one.view.is_window_open(t.other));
  EXPECT_FALSE(t.one.mmu.facts(t.other).window);
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
}

TEST(Windows, are_closed_for_descriptor_pages) {
  Tree t;
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, t.other));
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
  ASSERT_TRUE(t.one.mmu.hold(t.one.held, t.other, FrameType::seg_desc));
  EXPECT_FALSE(t.one.view.is_window_open(t.other));
  t.one.mmu.release(t.one.held, t.other);
}

TEST(Windows, that_the_host_does_not_open_are_left_to_the_monitor) {
  Tree t;
  t.one.view.open_fails_at = t.one.view.windows_opened;
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, t.other));
  EXPECT_FALSE(t.one.mmu.facts(t.other).window);
  EXPECT_EQ(t.update(entry_address(t.other, 0), Pte(t.data, ro)), ResidentWork::none);
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
}

TEST(Windows, that_the_host_does_not_close_keep_the_frame_from_becoming_a_table) {
  Tree t;
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, t.other));
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
  t.one.view.window_stuck = t.other;
  const auto pinned = t.one.mmu.pin(t.one.held, Level::l2, t.other);
  ASSERT_FALSE(pinned);
  EXPECT_EQ(pinned.error().rule, Rule::view_cannot_protect);
  EXPECT_EQ(t.one.view.of(t.other), test::FakeView::Access::read_write);
  EXPECT_TRUE(t.one.mmu.facts(t.other).window);
}

TEST(Windows, end_with_the_frame) {
  Tree t;
  ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, t.other));
  ASSERT_TRUE(t.one.mmu.unpin(t.one.held, t.other));
  ASSERT_TRUE(t.one.mmu.deallocate(t.one.held, t.other));
  EXPECT_FALSE(t.one.view.is_window_open(t.other));
  EXPECT_FALSE(t.one.mmu.facts(t.other).window);
}

TEST(Windows, of_a_frame_that_can_not_leave_are_as_the_host_left_them) {
  Tree t;
  for (const bool given : {false, true}) {
    const Mfn mfn = t.one.allocate();
    ASSERT_TRUE(t.one.mmu.pin(t.one.held, Level::l1, mfn));
    ASSERT_TRUE(t.one.mmu.unpin(t.one.held, mfn));
    t.one.view.stuck = mfn;
    if (given)
      EXPECT_FALSE(t.one.mmu.give_away(t.one.held, mfn));
    else
      EXPECT_TRUE(t.one.mmu.deallocate(t.one.held, mfn));
    EXPECT_TRUE(t.one.mmu.owns(mfn));
    EXPECT_FALSE(t.one.mmu.facts(mfn).window);
    t.one.view.stuck = no_mfn;
  }
}

TEST(Windows, that_are_not_as_recorded_are_found_by_an_audit) {
  Tree t;
  ASSERT_TRUE(t.one.view.open_window(t.l2));
  EXPECT_EQ(t.one.findings().size(), 1U);
  t.one.records().facts(t.l2).window = true;
  EXPECT_EQ(t.one.findings().size(), 1U);
  t.one.records().facts(t.l2).window = false;
  ASSERT_TRUE(t.one.view.close_window(t.l2));
}

}  // namespace
}  // namespace pinfold::pvmmu
