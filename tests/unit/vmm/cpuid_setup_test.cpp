#include "vmm/cpu/cpuid_setup.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

kvm_cpuid_entry2 entry(std::uint32_t leaf, std::uint32_t eax) {
  kvm_cpuid_entry2 e{};
  e.function = leaf;
  e.eax = eax;
  return e;
}

/// A processor with the leaves of its name; each answers with its own number.
CpuidResult processor(std::uint32_t leaf, std::uint32_t) {
  return {leaf == 0x80000000 ? 0x80000008 : leaf, 0, 0, 0};
}

TEST(CpuidSetup, the_processors_name_is_there_though_kvm_leaves_it_empty) {
  const CpuidSource listed = kvm_cpuid({entry(0x80000000, 0x80000021), entry(0x80000002, 0)}, processor);
  for (const std::uint32_t leaf : {0x80000002U, 0x80000003U, 0x80000004U})
    EXPECT_EQ(listed(leaf, 0).eax, leaf);
  EXPECT_EQ(listed(0x80000000, 0).eax, 0x80000021U);
  EXPECT_EQ(kvm_cpuid({entry(0x80000000, 0x80000001)}, processor)(0x80000000, 0).eax, 0x80000004U);
}

TEST(CpuidSetup, whatever_else_kvm_does_not_list_is_not_there) {
  const CpuidSource listed = kvm_cpuid({entry(1, 7)}, processor);
  EXPECT_EQ(listed(1, 0).eax, 7U);
  EXPECT_EQ(listed(7, 0).eax, 0U);
  EXPECT_EQ(listed(0x80000005, 0).eax, 0U);
  EXPECT_EQ(listed(0x80000000, 0).eax, 0U);
}

}  // namespace
}  // namespace pinfold::vmm
