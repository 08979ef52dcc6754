// The descriptors that a data segment register can have: those that the processor loads, and none with
// which a VM entry fails.
#include <gtest/gtest.h>

#include "vmm/cpu/segments.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t data = 0x00cff3000000ffff, code = 0x00affb000000ffff;
constexpr std::uint16_t selector = 0xe02b;

/// Does the segment meet the requirements of a VM entry (Intel SDM vol. 3, 27.3.1.2) and of a load?
void expect_enterable(const kvm_segment& s) {
  if (s.unusable != 0) {
    EXPECT_EQ(s.selector, 0);
    EXPECT_EQ(s.present, 0);
    return;
  }
  EXPECT_EQ(s.s, 1);
  EXPECT_EQ(s.present, 1);
  EXPECT_EQ(s.dpl, 3);
  EXPECT_EQ(s.selector & 3, 3);
  EXPECT_NE(s.type & 1, 0) << "accessed";
  if ((s.type & 8) != 0) {
    EXPECT_NE(s.type & 2, 0) << "code that can be read";
  }
  if ((s.limit & 0xfff) != 0xfff) {
    EXPECT_EQ(s.g, 0);
  }
  if (s.limit >> 20 != 0) {
    EXPECT_EQ(s.g, 1);
  }
}

TEST(DataSegment, takes_data_and_code_that_can_be_read) {
  for (const std::uint64_t descriptor : {data, code}) {
    const kvm_segment s = data_segment(selector, descriptor);
    EXPECT_EQ(s.unusable, 0);
    EXPECT_EQ(s.selector, selector);
    EXPECT_EQ(s.limit, 0xffffffffU);
    expect_enterable(s);
  }
  EXPECT_EQ(data_segment(0xe028, data).selector, 0xe02b) << "for CPL 3";
}

TEST(DataSegment, takes_nothing_that_a_vm_entry_fails_with) {
  constexpr std::uint64_t attributes = 0x00f0ff0000000000;
  for (const std::uint64_t limit :
       {0x0ULL, 0xfffULL, 0xffffULL, 0x000f000000000000ULL, 0x000f00000000ffffULL})
    for (std::uint64_t bits = 0; bits < 4096; ++bits) {
      const std::uint64_t descriptor = ((bits << 44 & 0x00f0000000000000) | (bits & 0xff) << 40) & attributes;
      const kvm_segment s = data_segment(selector, descriptor | limit);
      expect_enterable(s);
      const std::uint64_t type = descriptor >> 40 & 15;
      const bool system = (descriptor >> 44 & 1) == 0, present = (descriptor >> 47 & 1) != 0;
      const bool for_cpl3 = (descriptor >> 45 & 3) == 3, execute_only = (type & 10) == 8;
      EXPECT_EQ(s.unusable != 0, system || !present || !for_cpl3 || execute_only) << descriptor;
    }
}

TEST(DataSegment, takes_the_null_selector_as_it_is) {
  for (std::uint16_t null = 0; null < 4; ++null) {
    expect_enterable(data_segment(null, data));
    EXPECT_NE(data_segment(null, data).unusable, 0);
  }
}

TEST(DataSegment, bases_have_32_bits) {
  EXPECT_EQ(base_of_descriptor(0xfe00000000000000 | 0x000000dcba980000), 0xfedcba98U);
  EXPECT_EQ(base_of_descriptor(~0ULL), 0xffffffffU);
}

}  // namespace
}  // namespace pinfold::vmm
