#include "vmm/cpuid_policy.hpp"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "vmm/cpuid_native.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint32_t all = ~0U;

/// A processor with all features, and with all leaves up to its maxima.
struct FakeHost {
  std::uint32_t max_basic = 0x20, max_extended = 0x80000008;
  bool intel = true;
  std::map<std::pair<std::uint32_t, std::uint32_t>, CpuidResult> leaves;

  CpuidResult operator()(std::uint32_t leaf, std::uint32_t subleaf) const {
    if (const auto found = leaves.find({leaf, subleaf}); found != leaves.end()) return found->second;
    switch (leaf) {
      case 0:
        if (intel) return {max_basic, 0x756e6547, 0x6c65746e, 0x49656e69};
        return {max_basic, 0x68747541, 0x444d4163, 0x69746e65};
      case 1: return {0x000a20f2, 0x07100800, all, all};
      case 0xd: return state(subleaf);
      case 0x80000000: return {max_extended, 0, 0, 0};
      case 0x80000008: return {0x00303930, all, all, all};
      default: return {all, all, all, all};
    }
  }
  /// Size and offset as on real processors; the 512-bit states are 64-byte aligned when compacted.
  static CpuidResult state(std::uint32_t subleaf) {
    switch (subleaf) {
      case 0: return {0x2ff, 2696, 2696, 0};
      case 1: return {0x1f, 2696, 0x100, 0};
      case 2: return {256, 576, 0, 0};
      case 3: return {64, 960, 0, 0};
      case 4: return {64, 1024, 0, 0};
      case 5: return {64, 1088, 0, 0};
      case 6: return {512, 1152, 2, 0};
      case 7: return {1024, 1664, 2, 0};
      case 9: return {8, 2688, 0, 0};
      default: return {};
    }
  }
};

CpuidOptions usual_options() {
  CpuidOptions options;
  options.xcr0 = 0xe7;
  options.tsc_khz = 2500000;
  options.tsc_reliable = true;
  return options;
}

CpuidPolicy policy(FakeHost host = {}, CpuidOptions options = usual_options()) {
  return CpuidPolicy(std::move(host), options);
}

constexpr CpuidAsker kernel{VcpuId(0), true, false, 1};

constexpr bool has(std::uint32_t value, unsigned bit) { return ((value >> bit) & 1) != 0; }

TEST(CpuidPolicy, hides_what_a_kernel_without_privilege_can_not_have) {
  const CpuidResult one = policy().answer(1, 0, kernel);
  for (unsigned bit :
       {1U, 3U, 7U, 12U, 13U, 14U, 17U, 21U, 22U, 28U, 29U, 31U})  // VME PSE MCE MTRR PGE MCA PSE36 DS
    EXPECT_FALSE(has(one.edx, bit)) << bit;                        // ACPI HTT TM PBE
  for (unsigned bit :
       {2U, 3U, 4U, 5U, 6U, 7U, 8U, 15U, 17U, 18U, 21U, 24U})  // DTES MONITOR DSCPL VMX SMX EIST TM2
    EXPECT_FALSE(has(one.ecx, bit)) << bit;                    // PDCM PCID DCA x2APIC TSC-deadline
  const CpuidResult seven = policy().answer(7, 0, kernel);
  for (unsigned bit :
       {0U, 1U, 2U, 4U, 7U, 10U, 11U, 14U, 20U, 25U})  // FSGSBASE TSC_ADJUST SGX HLE SMEP INVPCID RTM
    EXPECT_FALSE(has(seven.ebx, bit)) << bit;          // MPX SMAP PT
  for (unsigned bit : {2U, 3U, 4U, 7U, 16U, 22U})      // UMIP PKU OSPKE CET_SS LA57 RDPID
    EXPECT_FALSE(has(seven.ecx, bit)) << bit;
  for (unsigned bit :
       {20U, 22U, 24U, 25U, 26U, 27U, 28U, 29U, 30U, 31U})  // CET_IBT AMX and speculation control
    EXPECT_FALSE(has(seven.edx, bit)) << bit;
  const CpuidResult extended = policy().answer(0x80000001, 0, kernel);
  for (unsigned bit : {25U, 26U, 27U}) EXPECT_FALSE(has(extended.edx, bit)) << bit;  // FFXSR PAGE1GB RDTSCP
  for (unsigned bit : {1U, 2U, 3U, 10U, 22U, 26U, 29U})
    EXPECT_FALSE(has(extended.ecx, bit)) << bit;  // SVM and others
}

TEST(CpuidPolicy, fsgsbase_is_shown_where_the_guest_may_set_it_and_the_host_has_it) {
  CpuidOptions options = usual_options();
  options.fsgsbase = true;
  EXPECT_TRUE(has(policy({}, options).answer(7, 0, kernel).ebx, 0));
  FakeHost lacking;
  lacking.leaves[{7, 0}] = {0, all & ~1U, all, all};
  EXPECT_FALSE(has(policy(lacking, options).answer(7, 0, kernel).ebx, 0));
  options.fsgsbase = false;
  EXPECT_FALSE(has(policy({}, options).answer(7, 0, kernel).ebx, 0));
}

TEST(CpuidPolicy, shows_what_user_programs_need) {
  const CpuidResult one = policy().answer(1, 0, kernel);
  for (unsigned bit : {0U, 2U, 4U, 5U, 6U, 8U, 9U, 11U, 15U, 16U, 19U, 23U, 24U, 25U, 26U})
    EXPECT_TRUE(has(one.edx, bit)) << bit;
  for (unsigned bit : {0U, 1U, 9U, 12U, 13U, 19U, 20U, 22U, 23U, 25U, 26U, 28U, 29U, 30U})
    EXPECT_TRUE(has(one.ecx, bit)) << bit;
  const CpuidResult seven = policy().answer(7, 0, kernel);
  for (unsigned bit : {3U, 5U, 8U, 9U, 16U, 18U, 19U, 29U, 31U}) EXPECT_TRUE(has(seven.ebx, bit)) << bit;
  const CpuidResult extended = policy().answer(0x80000001, 0, kernel);
  for (unsigned bit : {11U, 20U, 29U}) EXPECT_TRUE(has(extended.edx, bit)) << bit;
  EXPECT_TRUE(has(extended.ecx, 0));
}

TEST(CpuidPolicy, never_shows_a_feature_that_the_host_lacks) {
  FakeHost host;
  for (std::uint32_t leaf : {1U, 7U, 0x80000001U, 0x80000007U, 0x80000008U, 0x80000021U})
    host.leaves[{leaf, 0}] = {};
  const CpuidPolicy p = policy(host);
  const CpuidResult one = p.answer(1, 0, kernel);
  EXPECT_EQ(one.edx, 0U);
  EXPECT_EQ(one.ecx, 1U << 31);
  EXPECT_EQ(p.answer(7, 0, kernel), CpuidResult{});
  EXPECT_EQ(p.answer(0x80000001, 0, kernel), CpuidResult{});
  EXPECT_EQ(p.answer(0x80000007, 0, kernel), CpuidResult{});
}

TEST(CpuidPolicy, says_that_there_is_a_hypervisor) {
  FakeHost host;
  host.leaves[{1, 0}] = {};
  EXPECT_TRUE(has(policy(host).answer(1, 0, kernel).ecx, 31));
}

// Before it first writes CR4, a PV kernel looks at OSXSAVE, and without it does not use XSAVE.
TEST(CpuidPolicy, kernel_sees_osxsave_before_it_enables_it) {
  const CpuidPolicy p = policy();
  EXPECT_TRUE(has(p.answer(1, 0, {VcpuId(0), true, false, 1}).ecx, 27));
  EXPECT_FALSE(has(p.answer(1, 0, {VcpuId(0), false, false, 1}).ecx, 27));
  EXPECT_TRUE(has(p.answer(1, 0, {VcpuId(0), false, true, 7}).ecx, 27));
}

TEST(CpuidPolicy, without_xsave_nothing_that_needs_it_is_shown) {
  CpuidOptions options = usual_options();
  options.xcr0 = 0;
  const CpuidPolicy p = policy({}, options);
  const CpuidResult one = p.answer(1, 0, {VcpuId(0), true, true, 1});
  for (unsigned bit : {12U, 26U, 27U, 28U, 29U}) EXPECT_FALSE(has(one.ecx, bit)) << bit;
  const CpuidResult seven = p.answer(7, 0, kernel);
  EXPECT_FALSE(has(seven.ebx, 5));
  EXPECT_FALSE(has(seven.ebx, 16));
  EXPECT_FALSE(has(seven.ecx, 9));
  EXPECT_EQ(p.answer(7, 1, kernel).eax & 0x30, 0U);
  EXPECT_FALSE(has(p.answer(0x80000001, 0, kernel).ecx, 11));
  for (std::uint32_t i = 0; i < 64; ++i) EXPECT_EQ(p.answer(0xd, i, kernel), CpuidResult{});
}

TEST(CpuidPolicy, without_512_bit_state_avx_stays_and_avx512_goes) {
  CpuidOptions options = usual_options();
  options.xcr0 = 0x67;  // a part of the 512-bit state counts as none of it
  const CpuidPolicy p = policy({}, options);
  EXPECT_EQ(p.xcr0_offered(), 7U);
  EXPECT_TRUE(has(p.answer(1, 0, kernel).ecx, 28));
  const CpuidResult seven = p.answer(7, 0, kernel);
  EXPECT_TRUE(has(seven.ebx, 5));
  for (unsigned bit : {16U, 17U, 21U, 26U, 27U, 28U, 30U, 31U}) EXPECT_FALSE(has(seven.ebx, bit)) << bit;
  for (unsigned bit : {1U, 6U, 11U, 12U, 14U}) EXPECT_FALSE(has(seven.ecx, bit)) << bit;
  for (unsigned bit : {2U, 3U, 23U}) EXPECT_FALSE(has(seven.edx, bit)) << bit;
}

TEST(CpuidPolicy, state_of_hidden_features_is_not_offered) {
  CpuidOptions options = usual_options();
  options.xcr0 = ~0ULL;
  const CpuidPolicy p = policy({}, options);
  EXPECT_EQ(p.xcr0_offered(), 0xe7U);  // neither MPX nor protection keys
  EXPECT_EQ(p.answer(0xd, 9, kernel), CpuidResult{});
  EXPECT_EQ(p.answer(0xd, 3, kernel), CpuidResult{});
}

TEST(CpuidPolicy, save_area_is_sized_for_the_present_and_the_largest_xcr0) {
  const CpuidPolicy p = policy();
  EXPECT_EQ(p.answer(0xd, 0, {VcpuId(0), true, true, 1}), (CpuidResult{0xe7, 576, 2688, 0}));
  EXPECT_EQ(p.answer(0xd, 0, {VcpuId(0), true, true, 7}), (CpuidResult{0xe7, 832, 2688, 0}));
  EXPECT_EQ(p.answer(0xd, 0, {VcpuId(0), true, true, 0xe7}), (CpuidResult{0xe7, 2688, 2688, 0}));
}

TEST(CpuidPolicy, compacted_save_area_has_no_holes_but_alignment) {
  const CpuidPolicy p = policy();
  // 576 + 256, 64, then 512 and 1024 at multiples of 64
  EXPECT_EQ(p.answer(0xd, 1, {VcpuId(0), true, true, 0xe7}), (CpuidResult{7, 2432, 0, 0}));
  EXPECT_EQ(p.answer(0xd, 1, {VcpuId(0), true, true, 3}).ebx, 576U);
}

TEST(CpuidPolicy, supervisor_state_is_not_offered) {
  EXPECT_FALSE(has(policy().answer(0xd, 1, kernel).eax, 3));
  EXPECT_EQ(policy().answer(0xd, 1, kernel).ecx, 0U);
}

TEST(CpuidPolicy, each_vcpu_is_a_package_of_its_own) {
  const CpuidPolicy p = policy();
  for (std::uint32_t id : {0U, 1U, 5U}) {
    const CpuidAsker asker{VcpuId(id), true, false, 1};
    const CpuidResult one = p.answer(1, 0, asker);
    EXPECT_EQ(one.ebx >> 24, id);
    EXPECT_EQ((one.ebx >> 16) & 0xff, 1U);
    EXPECT_EQ((one.ebx >> 8) & 0xff, 8U);  // the cache line of CLFLUSH is the host's
    EXPECT_EQ(p.answer(4, 0, asker).eax >> 14, 0U);
    EXPECT_EQ(p.answer(0xb, 0, asker), (CpuidResult{0, 1, 0x100, id}));
    EXPECT_EQ(p.answer(0xb, 1, asker), (CpuidResult{0, 1, 0x201, id}));
    EXPECT_EQ(p.answer(0xb, 2, asker), (CpuidResult{0, 0, 2, id}));
  }
}

TEST(CpuidPolicy, leaves_that_are_not_offered_are_zeros) {
  FakeHost host;
  host.max_extended = 0x80000028;
  const CpuidPolicy p = policy(host);
  for (std::uint32_t leaf :
       {3U, 5U, 6U, 9U, 0xaU, 0xcU, 0xeU, 0xfU, 0x10U, 0x12U, 0x14U, 0x15U, 0x16U, 0x1fU})
    EXPECT_EQ(p.answer(leaf, 0, kernel), CpuidResult{}) << leaf;
  for (std::uint32_t leaf : {0x8000000aU, 0x80000019U, 0x8000001bU, 0x8000001dU, 0x8000001eU, 0x8000001fU,
                             0x80000020U, 0x80000022U, 0x80000028U, 0x7fffffffU, 0xffffffffU, 0x20000000U})
    EXPECT_EQ(p.answer(leaf, 0, kernel), CpuidResult{}) << std::hex << leaf;
}

TEST(CpuidPolicy, largest_basic_leaf_is_bounded_and_not_beyond_the_hosts) {
  EXPECT_EQ(policy().answer(0, 0, kernel).eax, 0xdU);
  FakeHost old;
  old.max_basic = 7;
  EXPECT_EQ(policy(old).answer(0, 0, kernel).eax, 7U);
  EXPECT_EQ(policy(old).answer(0xb, 0, kernel), CpuidResult{});
  EXPECT_EQ(policy(old).xcr0_offered(), 0U);
}

TEST(CpuidPolicy, null_selector_bit_is_the_hosts_or_what_was_measured) {
  // Intel has no such leaf.
  EXPECT_EQ(policy().answer(0x80000000, 0, kernel).eax, 0x80000008U);
  EXPECT_EQ(policy().answer(0x80000021, 0, kernel), CpuidResult{});
  CpuidOptions options = usual_options();
  options.null_selector_clears_base = true;
  const CpuidPolicy measured = policy({}, options);
  EXPECT_EQ(measured.answer(0x80000000, 0, kernel).eax, 0x80000021U);
  EXPECT_EQ(measured.answer(0x80000021, 0, kernel), (CpuidResult{1U << 6, 0, 0, 0}));
  for (std::uint32_t leaf = 0x80000009; leaf < 0x80000021; ++leaf)
    EXPECT_EQ(measured.answer(leaf, 0, kernel), CpuidResult{}) << std::hex << leaf;

  FakeHost amd;
  amd.intel = false;
  amd.max_extended = 0x80000021;
  EXPECT_TRUE(has(policy(amd).answer(0x80000021, 0, kernel).eax, 6));
  amd.leaves[{0x80000021, 0}] = {};
  EXPECT_FALSE(has(policy(amd).answer(0x80000021, 0, kernel).eax, 6));
}

TEST(CpuidPolicy, addresses_have_48_linear_bits_and_the_machines_width) {
  EXPECT_EQ(policy().answer(0x80000008, 0, kernel).eax, 0x3030U);
  CpuidOptions options = usual_options();
  options.machine_address_bits = 40;
  EXPECT_EQ(policy({}, options).answer(0x80000008, 0, kernel).eax, 0x3028U);
  EXPECT_EQ(policy({}, options).answer(0x40000005, 0, kernel).ebx, 40U);
}

TEST(CpuidPolicy, address_leaf_promises_no_registers_and_no_cores) {
  const CpuidResult leaf = policy().answer(0x80000008, 0, kernel);
  for (unsigned bit : {9U, 12U, 14U, 15U, 24U, 25U, 28U}) EXPECT_FALSE(has(leaf.ebx, bit)) << bit;
  EXPECT_EQ(leaf.ecx, 0U);
}

TEST(CpuidPolicy, invariant_tsc_is_shown_where_it_is_reliable) {
  EXPECT_EQ(policy().answer(0x80000007, 0, kernel), (CpuidResult{0, 0, 0, 1U << 8}));
  CpuidOptions options = usual_options();
  options.tsc_reliable = false;
  EXPECT_EQ(policy({}, options).answer(0x80000007, 0, kernel), CpuidResult{});
}

TEST(CpuidPolicy, sysenter_can_be_hidden) {
  EXPECT_TRUE(has(policy().answer(1, 0, kernel).edx, 11));
  CpuidOptions options = usual_options();
  options.sysenter = false;
  EXPECT_FALSE(has(policy({}, options).answer(1, 0, kernel).edx, 11));
}

TEST(CpuidPolicy, xen_leaves_identify_xen) {
  const CpuidPolicy p = policy();
  EXPECT_EQ(p.answer(0x40000000, 0, kernel), (CpuidResult{0x40000005, 0x566e6558, 0x65584d4d, 0x4d4d566e}));
  EXPECT_EQ(p.answer(0x40000001, 0, kernel), (CpuidResult{0x40011, 0, 0, 0}));
  EXPECT_EQ(p.answer(0x40000002, 0, kernel), (CpuidResult{1, 0x40000000, 1, 0}));
  EXPECT_EQ(p.answer(0x40000004, 0, kernel), CpuidResult{});
  EXPECT_EQ(p.answer(0x40000005, 0, kernel), (CpuidResult{0, 0x30, 0, 0}));
  EXPECT_EQ(p.answer(0x40000006, 0, kernel), CpuidResult{});
  EXPECT_EQ(p.answer(0x40000100, 0, kernel), CpuidResult{});
}

TEST(CpuidPolicy, xen_time_leaf_tells_frequency_and_scale) {
  CpuidOptions options = usual_options();
  options.tsc_offset = 0x1122334455667788;
  options.tsc_to_ns_mul = 0xcccccccc;
  options.tsc_shift = -1;
  options.tsc_never_emulated = true;
  const CpuidPolicy p = policy({}, options);
  EXPECT_EQ(p.answer(0x40000003, 0, kernel), (CpuidResult{2, 2, 2500000, 0}));
  EXPECT_EQ(p.answer(0x40000003, 1, kernel), (CpuidResult{0x55667788, 0x11223344, 0xcccccccc, 0xffffffff}));
  EXPECT_EQ(p.answer(0x40000003, 2, kernel), (CpuidResult{2500000, 0, 0, 0}));
  EXPECT_EQ(p.answer(0x40000003, 3, kernel), CpuidResult{});
}

TEST(CpuidPolicy, xcr0_must_be_a_legal_combination) {
  EXPECT_TRUE(xcr0_allowed(1, 0xe7));
  EXPECT_TRUE(xcr0_allowed(3, 0xe7));
  EXPECT_TRUE(xcr0_allowed(7, 0xe7));
  EXPECT_TRUE(xcr0_allowed(0xe7, 0xe7));
  EXPECT_FALSE(xcr0_allowed(0, 0xe7));     // x87 is always on
  EXPECT_FALSE(xcr0_allowed(5, 0xe7));     // YMM without SSE
  EXPECT_FALSE(xcr0_allowed(0x27, 0xe7));  // a part of the 512-bit state
  EXPECT_FALSE(xcr0_allowed(0xe3, 0xe7));  // 512-bit state without YMM
  EXPECT_FALSE(xcr0_allowed(0xe7, 7));     // not offered
  EXPECT_FALSE(xcr0_allowed(1ULL << 63 | 7, 0xe7));
}

// The processor that the tests run on, whatever it is.
TEST(CpuidPolicy, native_processor_is_never_exceeded) {
  const CpuidSource host = native_cpuid();
  CpuidOptions options = usual_options();
  options.xcr0 = native_xcr0();
  const CpuidPolicy p(host, options);
  EXPECT_EQ(p.xcr0_offered() & ~native_xcr0(), 0U);
  const CpuidResult one = p.answer(1, 0, kernel), host_one = host(1, 0);
  EXPECT_EQ(one.edx & ~host_one.edx, 0U);
  EXPECT_EQ(one.ecx & ~host_one.ecx & ~(1U << 31), 0U);
  const CpuidResult seven = p.answer(7, 0, kernel), host_seven = host(7, 0);
  EXPECT_EQ((seven.ebx & ~host_seven.ebx) | (seven.ecx & ~host_seven.ecx) | (seven.edx & ~host_seven.edx),
            0U);
  if (p.xcr0_offered() == native_xcr0()) {
    EXPECT_EQ(p.answer(0xd, 0, {VcpuId(0), true, true, native_xcr0()}).ebx, host(0xd, 0).ebx);
  }
}

}  // namespace
}  // namespace pinfold::vmm
