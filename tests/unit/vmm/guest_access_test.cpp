// The monitor's reads and writes of guest memory by the guest's own tables.
#include "vmm/memory/guest_access.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "fake_machine.hpp"

namespace pinfold::vmm {
namespace {

using pvmmu::Pte;
namespace bit = pvmmu::bit;
using pvmmu::test::va_of;

constexpr std::size_t first_slot = 1, second_slot = 2, read_only_slot = 3, no_execute_slot = 4,
                      table_slot = 5;

class GuestAccessTest : public testing::Test {
 protected:
  GuestAccessTest() {
    const auto map = [&](std::size_t slot, Mfn mfn, std::uint64_t flags) {
      machine.poke(tree.l1, slot, Pte(mfn, flags));
    };
    map(first_slot, first, bit::present | bit::writable | bit::user);  // neither accessed nor dirty yet
    map(second_slot, second, pvmmu::test::rw);
    map(read_only_slot, first, pvmmu::test::ro);
    map(no_execute_slot, second, pvmmu::test::ro | bit::no_execute);
    map(table_slot, tree.l2, pvmmu::test::ro);
    EXPECT_TRUE(domain.mmu.pin(domain.held, pvmmu::Level::l4, tree.l4).has_value());
    machine.poke(first, 511, Pte(0x1111111111111111));
    machine.poke(second, 0, Pte(0x2222222222222222));
    machine.poke(third, 0, Pte(0x3333333333333333));
  }
  [[nodiscard]] GuestAccess access() { return {domain.mmu, domain.held, tree.l4}; }
  [[nodiscard]] static GuestVaddr at(std::size_t slot, std::uint64_t offset = 0) {
    return GuestVaddr(va_of(0, slot).raw() + offset);
  }
  [[nodiscard]] Pte entry(std::size_t slot) { return machine.peek(tree.l1, slot); }

  pvmmu::test::FakeMachine machine{64};
  pvmmu::test::FakeDomain domain{machine, DomId(1)};
  pvmmu::test::Tree tree = pvmmu::test::build_tree(machine, domain);
  // In this order, so that the frame behind `first` is not the page behind it for the guest.
  Mfn first = domain.allocate(), third = domain.allocate(), second = domain.allocate();
};

TEST_F(GuestAccessTest, reads_and_writes_go_on_in_the_next_page_of_the_guests) {
  std::array<std::byte, 16> bytes{};
  ASSERT_TRUE(access().read(at(first_slot, page_size - 8), bytes));
  std::array<std::uint64_t, 2> words{};
  std::memcpy(words.data(), bytes.data(), sizeof words);
  EXPECT_EQ(words[0], 0x1111111111111111U);
  EXPECT_EQ(words[1], 0x2222222222222222U);
  words = {4, 5};
  ASSERT_TRUE(access().write(at(first_slot, page_size - 8), std::as_bytes(std::span(words))));
  EXPECT_EQ(machine.peek(first, 511).raw(), 4U);
  EXPECT_EQ(machine.peek(second, 0).raw(), 5U);
  EXPECT_EQ(machine.peek(third, 0).raw(), 0x3333333333333333U);
}

TEST_F(GuestAccessTest, an_access_leaves_the_marks_of_a_processors) {
  std::array<std::byte, 8> bytes{};
  ASSERT_TRUE(access().read(at(first_slot), bytes));
  EXPECT_TRUE(entry(first_slot).any(bit::accessed));
  EXPECT_FALSE(entry(first_slot).any(bit::dirty));
  ASSERT_TRUE(access().write(at(first_slot), bytes));
  EXPECT_TRUE(entry(first_slot).any(bit::dirty));
}

TEST_F(GuestAccessTest, what_the_guest_may_not_write_is_not_written_for_it) {
  std::array<std::byte, 8> bytes{};
  EXPECT_FALSE(access().write(at(read_only_slot), bytes));
  EXPECT_FALSE(entry(read_only_slot).any(bit::dirty));
  EXPECT_FALSE(access().write(at(table_slot), bytes));
  EXPECT_EQ(machine.peek(tree.l2, 0).mfn(), tree.l1);
}

TEST_F(GuestAccessTest, a_copy_that_meets_a_page_that_is_not_there_fails) {
  std::array<std::byte, 16> bytes{};
  EXPECT_FALSE(access().read(at(table_slot + 1, 0), bytes));
  EXPECT_FALSE(access().write(at(table_slot + 1, 0), bytes));
  EXPECT_FALSE(access().read(at(table_slot, page_size - 8), bytes));
}

TEST_F(GuestAccessTest, code_is_fetched_from_executable_pages_only_and_as_far_as_they_go) {
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(access().fetch_code(at(second_slot), bytes), bytes.size());
  EXPECT_EQ(access().fetch_code(at(no_execute_slot), bytes), 0U);
  EXPECT_EQ(access().fetch_code(at(read_only_slot, page_size - 8), bytes), 8U);
}

}  // namespace
}  // namespace pinfold::vmm
