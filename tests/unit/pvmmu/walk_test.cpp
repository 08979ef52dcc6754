// A walk ends where a processor's would, and trusts no table that differs from its mirror.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/walk_path.hpp"

namespace pinfold::pvmmu {
namespace {

using test::ro;
using test::rw;

constexpr std::size_t upper_half_slot = 300, in_xens_range = 260, l1_slot = 7;

class Walks : public testing::Test {
 protected:
  Walks() {
    machine.poke(tree.l4, 0, Pte(tree.l3, test::table));
    machine.poke(tree.l3, 0, Pte(tree.l2, test::table));
    machine.poke(tree.l2, 0, Pte(tree.l1, test::table));
    machine.poke(tree.l3, upper_half_slot, Pte(tree.l2, test::table));
    machine.poke(tree.l3, in_xens_range, Pte(tree.l2, test::table));
    machine.poke(tree.l2, in_xens_range, Pte(tree.l1, test::table));
    // The check neither reads nor changes what a guest leaves there.
    machine.poke(tree.l4, in_xens_range, Pte(tree.l3, test::table));
    machine.poke(tree.l1, l1_slot, Pte(page, rw));
    machine.poke(tree.l1, in_xens_range, Pte(page, rw));
    EXPECT_TRUE(domain.mmu.pin(domain.held, Level::l4, tree.l4).has_value());
  }

  [[nodiscard]] std::optional<Leaf> walk(GuestVaddr va) { return domain.mmu.walk(domain.held, tree.l4, va); }
  [[nodiscard]] Verdict<> update(GuestVaddr va) {
    return domain.mmu.update_va(domain.held, tree.l4, va, Pte(page, ro));
  }

  test::FakeMachine machine{64};
  test::FakeDomain domain{machine, DomId(1)}, other{machine, DomId(2)};
  test::Tree tree = test::build_tree(machine, domain, upper_half_slot);
  Mfn page = domain.allocate(), second_page = domain.allocate(), foreign = other.allocate();
};

TEST_F(Walks, of_addresses_of_both_halves_end_at_their_entry) {
  for (const std::size_t slot : {std::size_t{0}, upper_half_slot}) {
    const auto leaf = walk(test::va_of(slot, l1_slot));
    ASSERT_TRUE(leaf.has_value()) << slot;
    EXPECT_EQ(leaf->table, tree.l1);
    EXPECT_EQ(leaf->slot, l1_slot);
    EXPECT_EQ(leaf->entry.mfn(), page);
  }
}

TEST_F(Walks, of_addresses_in_the_hypervisors_slots_lead_nowhere) {
  const GuestVaddr va = test::va_of(in_xens_range, in_xens_range);
  EXPECT_FALSE(walk(va).has_value());
  EXPECT_TRUE(walk_path(domain.held, domain.mmu, tree.l4, va).empty());
  ASSERT_FALSE(update(va).has_value());
  EXPECT_EQ(machine.peek(tree.l1, in_xens_range).raw() & rw, rw);
  EXPECT_EQ(domain.mmu.breach(), nullptr) << "such an address is no attack";
}

TEST_F(Walks, of_addresses_that_are_not_canonical_lead_nowhere) {
  const std::uint64_t low = test::va_of(0, l1_slot).raw(), high = test::va_of(upper_half_slot, l1_slot).raw();
  for (const std::uint64_t va : {low | 1ULL << 48, low | 1ULL << 63, low | 0xffffULL << 48,
                                 high & ~(0xffffULL << 48), high & ~(1ULL << 63), high & ~(1ULL << 48)}) {
    EXPECT_FALSE(walk(GuestVaddr(va)).has_value()) << std::hex << va;
    EXPECT_TRUE(walk_path(domain.held, domain.mmu, tree.l4, GuestVaddr(va)).empty()) << std::hex << va;
    EXPECT_FALSE(update(GuestVaddr(va)).has_value()) << std::hex << va;
  }
}

/// At each level the guest's entry is changed without the validator: to a table of the right level that maps
/// something else, to a frame of another domain, to a number that is no frame, to an empty entry.
TEST_F(Walks, follow_no_entry_that_was_changed_past_the_validator) {
  const test::Tree forged = test::build_tree(machine, domain);
  machine.poke(forged.l1, l1_slot, Pte(second_page, rw));
  const GuestVaddr va = test::va_of(0, l1_slot);
  for (const Level level : {Level::l4, Level::l3, Level::l2, Level::l1}) {
    const Mfn table = test::table_of(tree, level);
    const std::size_t slot = level == Level::l1 ? l1_slot : 0;
    const Mfn false_child = level == Level::l1 ? second_page : test::table_of(forged, below(level));
    const Pte right = machine.peek(table, slot);
    for (const Mfn target : {false_child, foreign, Mfn(machine.frames.size()), Mfn((1ULL << 40) - 1)}) {
      machine.poke(table, slot, Pte(target, rw));
      // The walk finds either nothing or what the processor finds.
      if (const auto leaf = walk(va)) {
        EXPECT_EQ(leaf->table, tree.l1) << number(level) << ' ' << target.raw();
        EXPECT_EQ(leaf->slot, l1_slot);
        EXPECT_EQ(leaf->entry.mfn(), page) << number(level) << ' ' << target.raw();
      }
      machine.poke(table, slot, right);
    }
  }
}

/// Forged permissions are found as well: the processor uses those of the mirror.
TEST_F(Walks, give_no_permission_that_was_added_past_the_validator) {
  const GuestVaddr va = test::va_of(0, l1_slot);
  ASSERT_TRUE(update(va).has_value());
  machine.poke(tree.l1, l1_slot, Pte(page, rw));
  const auto leaf = walk(va);
  if (leaf) {
    EXPECT_FALSE(domain.mmu.touch(domain.held, *leaf, true));
  }
  const MirrorId mirror(machine.frames[tree.l1].mirror);
  EXPECT_FALSE(domain.mirrors.load(mirror, l1_slot).writable());
}

}  // namespace
}  // namespace pinfold::pvmmu
