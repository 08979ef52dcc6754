// How an address is translated, through the tables and their mirrors.
#include "pvmmu/walk_path.hpp"

#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

struct Scene {
  Scene() {
    machine.poke(tree.l1, 9, Pte(data, rw));
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
  }
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  Tree tree = build_tree(machine, one, 300);
  Mfn data = one.allocate();
};

TEST(WalkPath, names_every_table_on_the_way_and_what_mirrors_it) {
  Scene s;
  const auto steps = walk_path(s.one.held, s.one.mmu, s.tree.l4, va_of(300, 9));
  ASSERT_EQ(steps.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(steps[i].table, table_of(s.tree, static_cast<Level>(4 - i)));
    EXPECT_EQ(number(steps[i].level), 4 - i);
    // An upper entry of a mirror names the next one.
    if (i < 3) {
      EXPECT_EQ(steps[i].mirrored.mfn(), steps[i + 1].mirror);
    }
  }
  EXPECT_EQ(steps[3].slot, 9);
  EXPECT_EQ(steps[3].entry.mfn(), s.data);
  EXPECT_EQ(steps[3].mirrored.mfn(), s.data);
}

TEST(WalkPath, ends_at_the_first_entry_that_is_not_present) {
  Scene s;
  const auto above = walk_path(s.one.held, s.one.mmu, s.tree.l4, va_of(301, 9));
  ASSERT_EQ(above.size(), 1U);
  EXPECT_FALSE(above[0].entry.present());
  const auto leaf = walk_path(s.one.held, s.one.mmu, s.tree.l4, va_of(300, 10));
  ASSERT_EQ(leaf.size(), 4U);
  EXPECT_FALSE(leaf[3].entry.present());
}

TEST(WalkPath, has_no_way_for_addresses_that_are_not_the_guests) {
  Scene s;
  for (const std::uint64_t va : std::array<std::uint64_t, 3>{1ULL << 47, xen_range_begin, xen_range_end - 1})
    EXPECT_TRUE(walk_path(s.one.held, s.one.mmu, s.tree.l4, GuestVaddr(va)).empty());
  EXPECT_TRUE(walk_path(s.one.held, s.one.mmu, no_mfn, va_of(300, 9)).empty());
}

TEST(WalkPath, ends_at_an_entry_that_names_no_table_of_the_domain) {
  for (const Mfn named : {Mfn(63), Mfn(64), Mfn((1ULL << 40) - 2)}) {
    Scene s;
    s.machine.poke(s.tree.l3, 300, Pte(named, table));
    EXPECT_EQ(walk_path(s.one.held, s.one.mmu, s.tree.l4, va_of(300, 9)).size(), 2U);
  }
}

}  // namespace
}  // namespace pinfold::pvmmu::test
