#include "vmm/cpu/debug_registers.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t guests = 0xffffffff81000000;

/// DR7 with register `n` enabled locally, for accesses of this type and length code.
constexpr std::uint64_t enabled(unsigned n, std::uint64_t type, std::uint64_t length_code) {
  return std::uint64_t{1} << (2 * n) | (type | length_code << 2) << (16 + 4 * n);
}
constexpr std::uint64_t on_write = 1, on_ports = 2;

TEST(DebugRegisters, take_addresses_of_the_guests_only) {
  for (unsigned n = 0; n < 4; ++n) {
    DebugRegisters debug;
    for (const std::uint64_t address :
         {0xffff800000000000ULL, 0xffff810000223000ULL, 0xffff87ffffffffffULL, 0x800000000000ULL})
      EXPECT_EQ(debug.set(n, address, true), fail(Errno::eperm)) << address;
    EXPECT_EQ(debug.get(n), 0U);
    for (const std::uint64_t address : {0x7fffffffffffULL, 0xffff880000000000ULL, ~0ULL}) {
      EXPECT_TRUE(debug.set(n, address, false)) << address;
      EXPECT_EQ(debug.get(n), address);
    }
  }
}

TEST(DebugRegisters, keep_what_is_fixed_in_dr6_and_dr7) {
  DebugRegisters debug;
  ASSERT_TRUE(debug.set(6, 0xffffffff, false));
  EXPECT_EQ(debug.get(6), 0xffffefffU);
  ASSERT_TRUE(debug.set(6, 0, false));
  EXPECT_EQ(debug.get(6), 0xffff0ff0U);
  ASSERT_TRUE(debug.set(7, 0xffff & ~0x2000U, false));
  EXPECT_EQ(debug.get(7), 0x7ffU);
  for (unsigned bit = 32; bit < 64; ++bit)
    for (const unsigned n : {6U, 7U}) EXPECT_EQ(debug.set(n, 1ULL << bit, true), fail(Errno::einval));
  EXPECT_EQ(debug.set(7, 0x2000, true), fail(Errno::eperm));
  for (const unsigned n : {4U, 5U, 8U, ~0U}) EXPECT_EQ(debug.set(n, 0, true), fail(Errno::enodev));
  EXPECT_EQ(debug.get(7), 0x7ffU) << "a refusal changes nothing";
}

TEST(DebugRegisters, breakpoints_on_ports_need_debugging_extensions_once_one_is_enabled) {
  DebugRegisters debug;
  EXPECT_TRUE(debug.set(7, on_ports << 16, false)) << "none is enabled";
  EXPECT_EQ(debug.set(7, enabled(0, on_ports, 0), false), fail(Errno::eperm));
  EXPECT_EQ(debug.set(7, enabled(1, on_write, 0) | on_ports << 16, false), fail(Errno::eperm));
  EXPECT_TRUE(debug.set(7, enabled(0, on_ports, 0), true));
}

TEST(DebugRegisters, the_processor_gets_no_breakpoint_on_ports) {
  DebugRegisters debug;
  ASSERT_TRUE(debug.set(0, 0x80, true));
  ASSERT_TRUE(debug.set(1, guests, true));
  ASSERT_TRUE(debug.set(7, enabled(0, on_ports, 0), true));
  EXPECT_FALSE(debug.watches());
  EXPECT_EQ(debug.to_load(), DebugRegisters::Loaded());
  ASSERT_TRUE(debug.set(7, enabled(0, on_ports, 0) | enabled(1, on_write, 3), true));
  EXPECT_TRUE(debug.watches());
  EXPECT_EQ(debug.to_load().dr7 & dr7::enables, 4U);
  EXPECT_EQ(debug.to_load().address[1], guests);
  EXPECT_EQ(debug.get(7), (enabled(0, on_ports, 0) | enabled(1, on_write, 3)) | 0x400U)
      << "the guest sees both";
}

TEST(DebugRegisters, nothing_is_loaded_while_none_is_enabled) {
  DebugRegisters debug;
  ASSERT_TRUE(debug.set(2, guests, false));
  EXPECT_EQ(debug.to_load(), DebugRegisters::Loaded());
  EXPECT_TRUE(debug.take_change());
  EXPECT_FALSE(debug.take_change());
  ASSERT_TRUE(debug.set(7, enabled(2, on_write, 0), false));
  EXPECT_TRUE(debug.take_change());
  EXPECT_EQ(debug.to_load().address[2], guests);
}

TEST(DebugRegisters, causes_replace_the_breakpoints_and_add_to_the_rest) {
  DebugRegisters debug;
  debug.note(dr6::single_step | 1);
  EXPECT_EQ(debug.get(6), 0xffff4ff1U);
  debug.note(4);
  EXPECT_EQ(debug.get(6), 0xffff4ff4U);
  debug.note(~0ULL);
  EXPECT_EQ(debug.get(6), 0xffffefffU);
}

TEST(DebugRegisters, ports_are_met_by_any_access_that_touches_them) {
  struct Case {
    std::uint64_t code;
    std::uint16_t first, last;
  };
  for (const auto& [code, first, last] : {Case{0, 0x62, 0x62}, Case{1, 0x62, 0x63}, Case{3, 0x60, 0x63}}) {
    DebugRegisters debug;
    ASSERT_TRUE(debug.set(3, 0x62, true));
    ASSERT_TRUE(debug.set(7, enabled(3, on_ports, code), true));
    EXPECT_EQ(debug.ports_hit(first, 1, true), 8U);
    EXPECT_EQ(debug.ports_hit(last, 1, true), 8U);
    EXPECT_EQ(debug.ports_hit(static_cast<std::uint16_t>(first - 1), 1, true), 0U);
    EXPECT_EQ(debug.ports_hit(static_cast<std::uint16_t>(last + 1), 4, true), 0U);
    EXPECT_EQ(debug.ports_hit(static_cast<std::uint16_t>(first - 1), 2, true), 8U);
    EXPECT_EQ(debug.ports_hit(first, 1, false), 0U) << "CR4.DE is clear";
  }
  DebugRegisters debug;
  ASSERT_TRUE(debug.set(0, 0xffff, true));
  ASSERT_TRUE(debug.set(7, enabled(0, on_ports, 0), true));
  EXPECT_EQ(debug.ports_hit(0xffff, 4, true), 1U);
  EXPECT_EQ(debug.ports_hit(0, 4, true), 0U);
}

}  // namespace
}  // namespace pinfold::vmm
