// A debugger's access to memory, its breakpoints, and how return addresses are recognised.
#include <gtest/gtest.h>

#include <array>

#include "fake_machine.hpp"
#include "vmm/debug/backtrace.hpp"
#include "vmm/debug/guest_debug.hpp"

namespace pinfold::vmm::test {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;

constexpr std::byte int3{0xcc};

/// A page with two read-only mappings, and read-only mappings of the page tables.
struct Scene {
  Scene() {
    machine.poke(tree.l1, 1, Pte(data, ro));
    machine.poke(tree.l1, 2, Pte(tree.l1, ro));
    machine.poke(tree.l1, 4, Pte(data, ro));
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
    at(5) = std::byte{0x55};
  }
  [[nodiscard]] std::byte& at(std::size_t offset) const {
    return machine.memory.pages().page(data.raw())[offset];
  }
  [[nodiscard]] GuestVaddr va(std::size_t slot, std::uint64_t offset) const {
    return GuestVaddr(va_of(300, slot).raw() + offset);
  }
  [[nodiscard]] std::byte read(std::size_t slot, std::uint64_t offset) const {
    std::array<std::byte, 1> byte{};
    EXPECT_EQ(debug.read(one.held, tree.l4, va(slot, offset), byte), 1U);
    return byte[0];
  }

  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  Tree tree = build_tree(machine, one, 300);
  Mfn data = one.allocate();
  GuestDebug debug{one.mmu};
};

TEST(GuestDebug, writes_what_the_guest_may_only_read) {
  const Scene s;
  const std::array bytes{std::byte{1}, std::byte{2}};
  Scene t;
  EXPECT_TRUE(t.debug.write(t.one.held, t.tree.l4, t.va(1, 8), bytes));
  EXPECT_EQ(t.at(8), std::byte{1});
  EXPECT_EQ(t.read(4, 9), std::byte{2});
  EXPECT_EQ(t.one.findings(), std::vector<std::string>{});
}

TEST(GuestDebug, never_writes_a_page_table) {
  Scene s;
  const std::array byte{std::byte{1}};
  EXPECT_FALSE(s.debug.write(s.one.held, s.tree.l4, s.va(2, 0), byte));
  EXPECT_FALSE(s.debug.insert(s.one.held, s.tree.l4, s.va(2, 0)));
  // If the last byte can't be written, no byte is.
  const std::array<std::byte, 8> across{};
  s.at(page_size - 1) = std::byte{7};
  EXPECT_FALSE(s.debug.write(s.one.held, s.tree.l4, s.va(1, page_size - 4), across));
  EXPECT_EQ(s.at(page_size - 1), std::byte{7});
}

TEST(GuestDebug, reads_up_to_what_is_not_mapped) {
  const Scene s;
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(s.debug.read(s.one.held, s.tree.l4, s.va(4, page_size - 6), bytes), 6U);
  EXPECT_EQ(s.debug.read(s.one.held, s.tree.l4, GuestVaddr(xen_range_begin), bytes), 0U);
  EXPECT_EQ(s.debug.read(s.one.held, s.tree.l4, GuestVaddr(1ULL << 47), bytes), 0U);
}

TEST(GuestDebug, a_breakpoint_is_in_every_mapping_and_shows_in_none) {
  Scene s;
  EXPECT_TRUE(s.debug.insert(s.one.held, s.tree.l4, s.va(1, 5)));
  EXPECT_EQ(s.at(5), int3);
  EXPECT_EQ(s.read(1, 5), std::byte{0x55});
  EXPECT_TRUE(s.debug.is_breakpoint(s.one.held, s.tree.l4, s.va(4, 5)));
  EXPECT_FALSE(s.debug.is_breakpoint(s.one.held, s.tree.l4, s.va(4, 6)));
  EXPECT_TRUE(s.debug.remove(s.one.held, s.tree.l4, s.va(1, 5)));
  EXPECT_EQ(s.at(5), std::byte{0x55});
}

TEST(GuestDebug, a_write_behind_a_breakpoint_is_there_when_it_goes) {
  Scene s;
  EXPECT_TRUE(s.debug.insert(s.one.held, s.tree.l4, s.va(1, 5)));
  EXPECT_TRUE(s.debug.write(s.one.held, s.tree.l4, s.va(1, 5), std::array{std::byte{0x66}}));
  EXPECT_EQ(s.at(5), int3);
  s.debug.remove_all(s.one.held);
  EXPECT_EQ(s.at(5), std::byte{0x66});
}

TEST(GuestDebug, a_breakpoint_that_the_guest_overwrote_is_not_restored) {
  Scene s;
  EXPECT_TRUE(s.debug.insert(s.one.held, s.tree.l4, s.va(1, 5)));
  s.at(5) = std::byte{0x90};
  EXPECT_FALSE(s.debug.is_breakpoint(s.one.held, s.tree.l4, s.va(1, 5)));
  s.debug.remove_all(s.one.held);
  EXPECT_EQ(s.at(5), std::byte{0x90});
}

TEST(GuestDebug, a_breakpoint_in_a_frame_that_became_a_table_is_left_alone) {
  Scene s;
  const Mfn table = s.one.allocate();
  EXPECT_TRUE(s.one.mmu.update(s.one.held, entry_at(s.tree.l1, 6), Pte(table, ro), Preserve::nothing));
  EXPECT_TRUE(s.debug.insert(s.one.held, s.tree.l4, s.va(6, 0)));
  s.machine.memory.pages().page(table.raw())[0] = std::byte{0};
  EXPECT_TRUE(s.one.mmu.pin(s.one.held, Level::l1, table));
  s.machine.memory.pages().page(table.raw())[0] = int3;
  s.debug.remove_all(s.one.held);
  EXPECT_EQ(s.machine.memory.pages().page(table.raw())[0], int3);
  s.machine.memory.pages().page(table.raw())[0] = std::byte{0};
}

TEST(GuestDebug, breakpoints_are_bounded) {
  Scene s;
  for (std::size_t i = 0; i < GuestDebug::most_breakpoints; ++i)
    ASSERT_TRUE(s.debug.insert(s.one.held, s.tree.l4, s.va(1, i)));
  EXPECT_FALSE(s.debug.insert(s.one.held, s.tree.l4, s.va(1, 2000)));
}

TEST(Backtrace, knows_every_form_of_call) {
  const auto call = [](std::initializer_list<unsigned> bytes) {
    std::array<std::byte, 7> before;
    before.fill(std::byte{0x90});
    std::size_t i = before.size() - bytes.size();
    for (const unsigned b : bytes) before[i++] = static_cast<std::byte>(b);
    return ends_in_call(before);
  };
  EXPECT_TRUE(call({0xe8, 1, 2, 3, 4}));              // call rel32
  EXPECT_TRUE(call({0xff, 0xd0}));                    // call *%rax
  EXPECT_TRUE(call({0xff, 0x10}));                    // call *(%rax)
  EXPECT_TRUE(call({0xff, 0x50, 0x08}));              // call *8(%rax)
  EXPECT_TRUE(call({0xff, 0x54, 0x24, 0x08}));        // call *8(%rsp)
  EXPECT_TRUE(call({0xff, 0x90, 1, 2, 3, 4}));        // call *disp32(%rax)
  EXPECT_TRUE(call({0xff, 0x15, 1, 2, 3, 4}));        // call *disp32(%rip)
  EXPECT_TRUE(call({0xff, 0x14, 0xc5, 1, 2, 3, 4}));  // call *disp32(,%rax,8)
  EXPECT_FALSE(call({0xff, 0xe0}));                   // jmp *%rax
  EXPECT_FALSE(call({0xe9, 1, 2, 3, 4}));
  EXPECT_FALSE(call({0xff, 0x15, 1, 2}));
  EXPECT_FALSE(ends_in_call({}));
}

/// Code in one page, a stack in another.
TEST(Backtrace, finds_return_addresses_and_knows_those_of_frames) {
  Scene s;
  const Mfn stack = s.one.allocate();
  EXPECT_TRUE(s.one.mmu.update(s.one.held, entry_at(s.tree.l1, 8), Pte(stack, rw), Preserve::nothing));
  for (const std::size_t offset : {100U, 200U}) s.at(offset - 5) = std::byte{0xe8};
  const auto put = [&](std::size_t word, std::uint64_t value) { s.machine.poke(stack, word, Pte(value)); };
  put(1, s.va(1, 100).raw());    // left over
  put(2, s.va(1, 50).raw());     // code, but behind no call
  put(3, s.va(8, 8 * 8).raw());  // a saved frame pointer
  put(4, s.va(1, 200).raw());    // and the return address above it
  put(5, 0x1234);
  const auto found = scan_stack(s.one.held, s.one.mmu, s.tree.l4, s.va(8, 3).raw(), s.va(8, 3 * 8).raw());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].address, s.va(1, 100).raw());
  EXPECT_FALSE(found[0].certain);
  EXPECT_EQ(found[1].address, s.va(1, 200).raw());
  EXPECT_TRUE(found[1].certain);
}

TEST(Backtrace, ends_for_any_stack_pointer) {
  Scene s;
  for (const std::uint64_t rsp : {std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0} - 8, xen_range_begin,
                                  std::uint64_t{1} << 47, s.va(1, 1).raw()})
    for (const std::uint64_t rbp : {std::uint64_t{0}, rsp, ~std::uint64_t{0} - 7})
      EXPECT_LE(scan_stack(s.one.held, s.one.mmu, s.tree.l4, rsp, rbp).size(), most_stack_entries);
}

}  // namespace
}  // namespace pinfold::vmm::test
