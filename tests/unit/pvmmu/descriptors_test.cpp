// Segment descriptors: which ones pass, and how they are changed.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/descriptor.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr std::uint64_t present = 1ULL << 47, code_or_data = 1ULL << 44;
constexpr std::uint64_t dpl(std::uint64_t n) { return n << 45; }
constexpr std::uint64_t type(std::uint64_t n) { return n << 40; }
constexpr std::uint64_t gate(std::uint64_t selector, std::uint64_t level) {
  return present | type(0xc) | dpl(level) | selector << 16;
}

TEST(Descriptor, that_is_not_present_may_hold_anything) {
  for (const std::uint64_t raw : {std::uint64_t{0}, ~present, type(9), gate(0xe008, 3) & ~present})
    EXPECT_EQ(checked_descriptor(raw), raw);
}

TEST(Descriptor, of_code_or_data_gets_dpl_3) {
  for (std::uint64_t t = 0; t < 16; ++t)
    for (std::uint64_t level = 0; level < 4; ++level)
      EXPECT_EQ(checked_descriptor(present | code_or_data | type(t) | dpl(level)),
                present | code_or_data | type(t) | dpl(3));
}

TEST(Descriptor, of_a_system_segment_is_refused_but_for_type_0_and_call_gates) {
  for (std::uint64_t t = 0; t < 16; ++t) {
    const auto verdict = checked_descriptor(present | type(t));
    if (t == 0 || t == 0xc)
      EXPECT_TRUE(verdict) << t;
    else
      EXPECT_EQ(verdict.error(), Rule::desc_system) << t;
  }
}

TEST(CallGate, leads_to_the_guests_own_selectors_only) {
  EXPECT_TRUE(checked_descriptor(gate(0x10, 3)));
  EXPECT_TRUE(checked_descriptor(gate((first_reserved_gdt_entry - 1) << 3, 3)));
  EXPECT_TRUE(checked_descriptor(gate(0xe033, 3)));
  EXPECT_TRUE(checked_descriptor(gate(0xe030, 3)));
  EXPECT_TRUE(checked_descriptor(gate(0xfff4, 3))) << "in the LDT";
  EXPECT_EQ(checked_descriptor(gate(first_reserved_gdt_entry << 3, 3)).error(), Rule::desc_gate);
  EXPECT_EQ(checked_descriptor(gate(0xe008, 3)).error(), Rule::desc_gate);
  EXPECT_EQ(checked_descriptor(gate(0xfff8, 0)).error(), Rule::desc_gate);
}

TEST(CallGate, with_reserved_bits_or_a_parameter_count_is_refused) {
  for (unsigned bit_number = 32; bit_number < 40; ++bit_number)
    EXPECT_EQ(checked_descriptor(gate(0x10, 3) | 1ULL << bit_number).error(), Rule::desc_gate) << bit_number;
}

TEST(CallGate, is_stored_with_dpl_0_and_its_own_dpl_in_the_rpl) {
  for (std::uint64_t level = 0; level < 4; ++level)
    for (std::uint64_t rpl = 0; rpl < 4; ++rpl)
      EXPECT_EQ(checked_descriptor(gate(0x10 | rpl, level)), gate(0x10 | level, 0));
}

class DescriptorPage : public testing::Test {
 protected:
  FakeMachine machine{32};
  FakeDomain one{machine, DomId(1)};
  Mfn page = one.allocate();
};

TEST_F(DescriptorPage, is_fixed_up_in_place_and_protected_while_it_is_held) {
  machine.poke(page, 5, Pte(present | code_or_data));
  ASSERT_TRUE(one.mmu.hold(one.held, page, FrameType::seg_desc));
  EXPECT_EQ(machine.peek(page, 5).raw(), present | code_or_data | dpl(3));
  EXPECT_EQ(one.view.of(page), FakeView::Access::read_only);
  one.mmu.release(one.held, page);
  EXPECT_EQ(one.view.of(page), FakeView::Access::read_write);
  EXPECT_EQ(machine.frames[page].type, FrameType::none);
}

TEST_F(DescriptorPage, is_checked_again_each_time_it_becomes_one) {  // XSA-214
  ASSERT_TRUE(one.mmu.hold(one.held, page, FrameType::seg_desc));
  one.mmu.release(one.held, page);
  machine.poke(page, 0, Pte(present | type(9)));
  EXPECT_EQ(one.mmu.hold(one.held, page, FrameType::seg_desc).error().rule, Rule::desc_system);
}

TEST_F(DescriptorPage, takes_checked_descriptors_only) {
  ASSERT_TRUE(one.mmu.hold(one.held, page, FrameType::seg_desc));
  EXPECT_EQ(one.mmu.write_descriptor(one.held, entry_at(page, 7), present | code_or_data),
            present | code_or_data | dpl(3));
  EXPECT_EQ(machine.peek(page, 7).raw(), present | code_or_data | dpl(3));
  EXPECT_FALSE(one.mmu.write_descriptor(one.held, entry_at(page, 7), present | type(2)));
  EXPECT_EQ(machine.peek(page, 7).raw(), present | code_or_data | dpl(3));
  EXPECT_FALSE(one.mmu.write_descriptor(one.held, MachineAddr(~7ULL), 0));
  one.mmu.release(one.held, page);
}

TEST_F(DescriptorPage, a_table_takes_none) {
  for (const Level level : {Level::l1, Level::l4}) {
    ASSERT_TRUE(one.mmu.pin(one.held, level, page));
    EXPECT_EQ(one.mmu.write_descriptor(one.held, entry_at(page, 0), 0).error().rule, Rule::frame_not_a_table);
    ASSERT_TRUE(one.mmu.unpin(one.held, page));
  }
}

}  // namespace
}  // namespace pinfold::pvmmu::test
