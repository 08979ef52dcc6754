#include "vmm/emulate/msr.hpp"

#include <gtest/gtest.h>

#include <map>

namespace pinfold::vmm {
namespace {

class FakeMsrState : public MsrState {
 public:
  std::uint64_t segment_base(SegmentBase which) override { return bases[which]; }
  void set_segment_base(SegmentBase which, std::uint64_t address) override { bases[which] = address; }
  std::uint64_t read_tsc() override { return 99; }
  VcpuId vcpu() override { return id; }
  bool intel() override { return is_intel; }
  std::uint64_t microcode_revision() override { return 0xa101148; }
  bool has_gp_handler() override { return handler; }
  bool can_fault_cpuid() override { return can_fault; }
  bool cpuid_faulting() override { return faulting; }
  void set_cpuid_faulting(bool on) override { faulting = on; }

  std::map<SegmentBase, std::uint64_t> bases;
  VcpuId id{0};
  bool is_intel = true, handler = true, can_fault = false, faulting = false;
};

TEST(Msr, segment_bases_are_read_and_written) {
  FakeMsrState state;
  EXPECT_TRUE(write_msr(state, msr::fs_base, 0x7fff00001000));
  EXPECT_TRUE(write_msr(state, msr::gs_base, 0xffff888000000000));
  EXPECT_TRUE(write_msr(state, msr::kernel_gs_base, 5));
  EXPECT_EQ(read_msr(state, msr::fs_base), 0x7fff00001000U);
  EXPECT_EQ(read_msr(state, msr::gs_base), 0xffff888000000000U);
  EXPECT_EQ(read_msr(state, msr::kernel_gs_base), 5U);
  EXPECT_EQ(state.bases[SegmentBase::kernel_gs], 5U);
}

// XSA-193
TEST(Msr, segment_base_that_is_not_canonical_is_refused) {
  FakeMsrState state;
  for (std::uint32_t index : {msr::fs_base, msr::gs_base, msr::kernel_gs_base})
    for (std::uint64_t value : {0x8000000000000000U, 0x0000800000000000U, 0xffff7fffffffffffU})
      EXPECT_FALSE(write_msr(state, index, value));
  EXPECT_TRUE(state.bases.empty());
}

TEST(Msr, efer_is_what_long_mode_with_syscall_has_and_fixed) {
  FakeMsrState state;
  EXPECT_EQ(read_msr(state, msr::efer), 0xd01U);
  EXPECT_TRUE(write_msr(state, msr::efer, 0xd01));
  EXPECT_FALSE(write_msr(state, msr::efer, 0xd00));
  EXPECT_FALSE(write_msr(state, msr::efer, 0x1d01));
}

/// Xen forwards it, to guests on either maker's processors: Linux looks at it early, and complains of a
/// fault.
TEST(Msr, the_microcode_revision_is_the_hosts_and_only_intels_may_be_cleared) {
  FakeMsrState state;
  for (const bool intel : {true, false}) {
    state.is_intel = intel;
    EXPECT_EQ(read_msr(state, msr::microcode_revision), 0xa101148U);
    EXPECT_EQ(write_msr(state, msr::microcode_revision, 0).has_value(), intel);
    EXPECT_FALSE(write_msr(state, msr::microcode_revision, 0xa101148));
  }
}

TEST(Msr, pat_is_xens_constant) {
  FakeMsrState state;
  EXPECT_EQ(read_msr(state, msr::pat), 0x050100070406U);
  EXPECT_FALSE(write_msr(state, msr::pat, 0x0007040600070406));
}

TEST(Msr, only_the_first_vcpu_is_the_boot_processor) {
  FakeMsrState state;
  EXPECT_EQ(read_msr(state, msr::apic_base), 0xfee00900U);
  state.id = VcpuId(1);
  EXPECT_EQ(read_msr(state, msr::apic_base), 0xfee00800U);
  EXPECT_FALSE(write_msr(state, msr::apic_base, 0xfee00800));
}

// Kernels do not use REP MOVSB if fast strings are off.
TEST(Msr, misc_enable_has_fast_strings_and_no_performance_monitoring) {
  FakeMsrState state;
  const auto value = read_msr(state, msr::misc_enable);
  ASSERT_TRUE(value);
  EXPECT_EQ(*value & 1, 1U);
  EXPECT_EQ(*value & (1U << 7), 0U);
  EXPECT_TRUE(write_msr(state, msr::misc_enable, *value));
  EXPECT_FALSE(write_msr(state, msr::misc_enable, *value ^ (1ULL << 34)));
}

// XSA-333
TEST(Msr, registers_of_intel_processors_are_absent_on_others) {
  FakeMsrState state;
  state.is_intel = false;
  for (std::uint32_t index :
       {msr::misc_enable, msr::perf_capabilities, msr::platform_info, msr::misc_features_enables})
    EXPECT_FALSE(read_msr(state, index));
  EXPECT_FALSE(write_msr(state, msr::misc_features_enables, 0));
}

TEST(Msr, cpuid_faulting_is_offered_only_where_it_works) {
  FakeMsrState state;
  EXPECT_EQ(read_msr(state, msr::platform_info), 0U);
  EXPECT_TRUE(write_msr(state, msr::misc_features_enables, 0));
  EXPECT_FALSE(write_msr(state, msr::misc_features_enables, 1));
  state.can_fault = true;
  EXPECT_EQ(read_msr(state, msr::platform_info), 1ULL << 31);
  EXPECT_TRUE(write_msr(state, msr::misc_features_enables, 1));
  EXPECT_TRUE(state.faulting);
  EXPECT_EQ(read_msr(state, msr::misc_features_enables), 1U);
  EXPECT_FALSE(write_msr(state, msr::misc_features_enables, 3));
}

TEST(Msr, unknown_registers_fault_once_the_guest_can_take_it) {
  FakeMsrState state;
  EXPECT_FALSE(read_msr(state, 0x179));
  EXPECT_FALSE(read_msr(state, msr::tsc_aux));
  EXPECT_FALSE(write_msr(state, 0x179, 0));
  state.handler = false;
  EXPECT_EQ(read_msr(state, 0x179), 0U);
  EXPECT_FALSE(write_msr(state, 0x179, 0));
}

TEST(Msr, hypercall_page_is_not_installed_by_default) {
  FakeMsrState state;
  EXPECT_FALSE(write_msr(state, msr::xen_hypercall_page, 0x1000));
}

}  // namespace
}  // namespace pinfold::vmm
