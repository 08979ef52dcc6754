// A walk ends where a processor's would.
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
    // What a guest leaves there is neither read nor changed by the check.
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
  test::FakeDomain domain{machine, DomId(1)};
  test::Tree tree = test::build_tree(machine, domain, upper_half_slot);
  Mfn page = domain.allocate();
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

}  // namespace
}  // namespace pinfold::pvmmu
