// The inventory of a domain's tables agrees with the tables themselves, read entry by entry, and with the
// counts that the audit confirms.
#include "pvmmu/inventory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

using Place = std::tuple<std::uint64_t, unsigned, unsigned>;  // table, level, slot

Place place_of(const EntryPlace& e) { return {e.table.raw(), number(e.level), e.slot}; }

/// Two roots that share an L3; an L1 that is named three times; L1 entries that map data and tables.
struct Scene {
  Scene() {
    machine.poke(tree.l4, 300, Pte(tree.l3, table));
    machine.poke(other_root, 511, Pte(tree.l3, table));
    machine.poke(tree.l2, 7, Pte(tree.l1, table));
    for (std::size_t i = 0; i < 3; ++i) machine.poke(tree.l1, 10 + i, Pte(data, rw));
    machine.poke(tree.l1, 20, Pte(data, ro));
    machine.poke(tree.l1, 21, Pte(tree.l1, ro));
    machine.poke(tree.l1, 22, Pte(tree.l4, ro));
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l2, tree.l2));
    EXPECT_TRUE(one.mmu.load_root(one.held, root, other_root));
    EXPECT_TRUE(one.mmu.load_root(one.held, user_root, tree.l4));
    EXPECT_TRUE(two.mmu.pin(two.held, Level::l4, build_tree(machine, two).l4));
    one.outside.add(root);
    one.outside.add(user_root);
  }
  ~Scene() {
    one.mmu.unload_root(one.held, root);
    one.mmu.unload_root(one.held, user_root);
  }
  Inventory inventory(std::size_t most = tables_a_step) {
    return take_inventory(
        one.held, one.mmu,
        {{root, OutsideUser::Kind::kernel_root, VcpuId(0)},
         {user_root, OutsideUser::Kind::user_root, VcpuId(0)}},
        [] {}, most);
  }
  std::set<Place> mapping(Mfn frame, std::size_t most = tables_a_step) {
    std::set<Place> all;
    for (const EntryPlace& e : entries_mapping(
             one.held, one.mmu, frame, [] {}, most))
      EXPECT_TRUE(all.insert(place_of(e)).second) << "found twice";
    return all;
  }
  /// Looks at every frame and every entry, which the product never does.
  std::set<Place> mapping_by_brute_force(Mfn frame) {
    std::set<Place> all;
    for (std::uint64_t i = 1; i < machine.frames.size(); ++i) {
      const Frame f = machine.frames[Mfn(i)];
      if (!one.mmu.owns(Mfn(i)) || !f.validated || !is_table(f.type)) continue;
      for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
        if (f.type == FrameType::l4 && slot >= 256 && slot <= 271) continue;
        const Pte e = machine.peek(Mfn(i), slot);
        if (e.present() && e.mfn() == frame) all.insert({i, number(level_of(f.type)), slot});
      }
    }
    return all;
  }
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)}, two{machine, DomId(2)};
  Tree tree = build_tree(machine, one, 3);
  Mfn other_root = one.allocate(), data = one.allocate();
  Mfn root = no_mfn, user_root = no_mfn;
};

TEST(Inventory, lists_each_table_once_with_its_level_pin_and_counts) {
  Scene s;
  ASSERT_EQ(s.one.findings(), std::vector<std::string>());
  for (const std::size_t most : {1U, 2U, 64U}) {
    const Inventory inventory = s.inventory(most);
    EXPECT_EQ(inventory.tables().size(), 5U) << most << " a step";
    for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
      const TableReport* table = inventory.find(table_of(s.tree, level));
      ASSERT_NE(table, nullptr);
      const Frame frame = s.machine.frames[table->table];
      EXPECT_EQ(table->level, level);
      EXPECT_EQ(table->pinned, level == Level::l4 || level == Level::l2);
      EXPECT_EQ(table->references, frame.refs);
      EXPECT_EQ(table->type_references, frame.type_count);
      EXPECT_TRUE(table->allocated);
    }
    EXPECT_EQ(inventory.find(s.tree.l1)->present, 6U);
    EXPECT_EQ(inventory.find(s.tree.l4)->present, 2U);
    EXPECT_EQ(inventory.find(s.data), nullptr);
  }
}

TEST(Inventory, names_every_user_of_a_table) {
  Scene s;
  const Inventory inventory = s.inventory();
  for (const TableReport& table : inventory.tables()) {
    EXPECT_TRUE(inventory.explains(table)) << "level " << number(table.level);
    std::set<Place> naming;
    for (const EntryPlace& e : inventory.entries_naming(table.table)) naming.insert(place_of(e));
    std::set<Place> wanted = s.mapping_by_brute_force(table.table);
    std::erase_if(wanted, [](const Place& p) { return std::get<1>(p) == 1; });
    EXPECT_EQ(naming, wanted);
  }
  ASSERT_EQ(inventory.users_outside(s.other_root).size(), 1U);
  EXPECT_EQ(inventory.users_outside(s.other_root).front().kind, OutsideUser::Kind::kernel_root);
  EXPECT_EQ(inventory.users_outside(s.tree.l4).front().kind, OutsideUser::Kind::user_root);
  EXPECT_TRUE(inventory.users_outside(s.tree.l2).empty());
}

TEST(Inventory, knows_when_a_user_is_missing) {
  Scene s;
  const Inventory without_roots = take_inventory(s.one.held, s.one.mmu, {}, [] {});
  EXPECT_FALSE(without_roots.explains(*without_roots.find(s.other_root)));
  EXPECT_TRUE(without_roots.explains(*without_roots.find(s.tree.l2)));
}

TEST(Inventory, finds_every_entry_that_maps_a_frame) {
  Scene s;
  for (const std::size_t most : {1U, 3U, 64U})
    for (std::uint64_t i = 0; i < s.machine.frames.size(); ++i)
      EXPECT_EQ(s.mapping(Mfn(i), most), s.mapping_by_brute_force(Mfn(i))) << "frame " << i;
  EXPECT_EQ(s.mapping(s.data).size(), 4U);
  EXPECT_TRUE(s.mapping(Mfn(1ULL << 39)).empty());
  EXPECT_TRUE(s.mapping(no_mfn).empty());
}

TEST(Inventory, gives_entries_with_the_accessed_bit_of_the_mirror) {
  Scene s;
  ASSERT_TRUE(
      s.one.mmu.update(s.one.held, entry_at(s.tree.l1, 20), Pte(s.data, bit::present), Preserve::nothing));
  const MirrorId mirror(s.machine.frames[s.tree.l1].mirror);
  s.one.mirrors.store(mirror, 20, s.one.mirrors.load(mirror, 20).with(bit::accessed));
  for (const EntryPlace& e : entries_mapping(s.one.held, s.one.mmu, s.data, [] {}))
    EXPECT_TRUE(e.entry.any(bit::accessed));
}

TEST(Inventory, gives_every_address_under_every_root_and_a_walk_confirms_each) {
  Scene s;
  const Inventory inventory = s.inventory();
  for (const EntryPlace& e : entries_mapping(s.one.held, s.one.mmu, s.data, [] {})) {
    const auto addresses = inventory.addresses(e);
    EXPECT_TRUE(addresses.complete);
    EXPECT_EQ(addresses.seen.size(), 6U) << "three ways into the L3, two from there into the L1";
    std::set<std::pair<Mfn, GuestVaddr>> different;
    for (const SeenAt& seen : addresses.seen) {
      different.emplace(seen.root, seen.va);
      const auto leaf = s.one.mmu.walk(s.one.held, seen.root, seen.va);
      ASSERT_TRUE(leaf);
      EXPECT_EQ(leaf->table, e.table);
      EXPECT_EQ(leaf->slot, e.slot);
    }
    EXPECT_EQ(different.size(), addresses.seen.size());
    const auto some = inventory.addresses(e, 4);
    EXPECT_FALSE(some.complete);
    EXPECT_EQ(some.seen.size(), 4U);
  }
}

TEST(Inventory, of_tables_shared_as_often_as_can_be_stays_bounded) {
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  const Tree tree = build_tree(machine, one);
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    machine.poke(tree.l3, slot, Pte(tree.l2, table));
    machine.poke(tree.l2, slot, Pte(tree.l1, table));
  }
  const Mfn data = one.allocate();
  machine.poke(tree.l1, 0, Pte(data, rw));
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l3, tree.l3));  // 2^18 ways up, and no root above
  const Inventory inventory = take_inventory(one.held, one.mmu, {}, [] {});
  const auto found = entries_mapping(one.held, one.mmu, data, [] {});
  ASSERT_EQ(found.size(), 1U);
  const auto addresses = inventory.addresses(found.front(), 10);
  EXPECT_TRUE(addresses.seen.empty());
  EXPECT_FALSE(addresses.complete);
}

TEST(Inventory, forgets_tables_that_have_ended_and_finds_those_in_their_mirrors) {
  Scene s;
  ASSERT_TRUE(s.one.mmu.unpin(s.one.held, s.tree.l2));
  ASSERT_TRUE(s.one.mmu.unpin(s.one.held, s.tree.l4));
  s.one.mmu.unload_root(s.one.held, s.root);
  s.one.mmu.unload_root(s.one.held, s.user_root);
  EXPECT_TRUE(take_inventory(s.one.held, s.one.mmu, {}, [] {}).tables().empty());
  s.one.mmu.retired_mirrors_forgotten(s.one.held, s.one.mmu.mirrors().retired_end());
  const Mfn fresh = s.one.allocate();
  ASSERT_TRUE(s.one.mmu.pin(s.one.held, Level::l1, fresh));
  const Inventory inventory = take_inventory(s.one.held, s.one.mmu, {}, [] {});
  ASSERT_EQ(inventory.tables().size(), 1U);
  EXPECT_EQ(inventory.tables().front().table, fresh);
}

/// The guest runs on between the steps: what exists from beginning to end is found exactly once all the same.
TEST(Inventory, taken_in_steps_while_tables_change_has_all_that_stays) {
  FakeMachine machine{128};
  FakeDomain one{machine, DomId(1)};
  std::vector<Mfn> staying, changing;
  for (int i = 0; i < 20; ++i) (i % 2 == 0 ? staying : changing).push_back(one.allocate());
  const Mfn data = one.allocate();
  for (const Mfn mfn : staying) {
    machine.poke(mfn, 5, Pte(data, rw));
    ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, mfn));
  }
  std::mt19937 random(1);
  std::set<Mfn> pinned;
  const auto change = [&] {
    for (int i = 0; i < 3; ++i) {
      const Mfn mfn = changing[random() % changing.size()];
      if (pinned.insert(mfn).second) {
        EXPECT_TRUE(one.mmu.pin(one.held, Level::l1, mfn));
      } else {
        pinned.erase(mfn);
        EXPECT_TRUE(one.mmu.unpin(one.held, mfn));
      }
    }
    one.mmu.retired_mirrors_forgotten(one.held, one.mmu.mirrors().retired_end());
  };
  for (int round = 0; round < 100; ++round) {
    std::vector<TableReport> reports;
    for (TableSearch search; search.step(one.held, one.mmu, reports, 1);) change();
    std::vector<EntryPlace> found;
    for (FrameSearch search(data); search.step(one.held, one.mmu, found, 1);) change();
    for (const Mfn mfn : staying) {
      EXPECT_EQ(std::count_if(reports.begin(), reports.end(), [&](auto& r) { return r.table == mfn; }), 1);
      EXPECT_EQ(std::count_if(found.begin(), found.end(), [&](auto& e) { return e.table == mfn; }), 1);
    }
    EXPECT_EQ(found.size(), staying.size());
  }
}

}  // namespace
}  // namespace pinfold::pvmmu::test
