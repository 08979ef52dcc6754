#include "vmm/cpuid_policy.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

extern "C" {
#include <cstdint>

#include <xen/arch-x86/cpufeatureset.h>
#include <xen/arch-x86/cpuid.h>
}

namespace pinfold::vmm {
namespace {

/// The mask of one register, from features of one word of Xen's featureset. Does not compile with a
/// feature of another word.
template <unsigned word>
consteval std::uint32_t allow(std::initializer_list<int> features) {
  std::uint32_t mask = 0;
  for (int feature : features) {
    if (feature / 32 != static_cast<int>(word)) throw "a feature of another register";
    mask |= 1U << (feature % 32);
  }
  return mask;
}

#define F(name) XEN_X86_FEATURE_##name

// Leaf 1. Hidden: large and global pages; MTRRs, MCE and MCA, whose MSRs do not exist
// here; performance monitoring.
constexpr std::uint32_t allowed_1d =
    allow<0>({F(FPU), F(DE), F(TSC), F(MSR), F(PAE), F(CX8), F(APIC), F(SEP), F(CMOV), F(PAT), F(CLFLUSH),
              F(MMX), F(FXSR), F(SSE), F(SSE2), F(SS)});
constexpr std::uint32_t allowed_1c =
    allow<1>({F(SSE3), F(PCLMULQDQ), F(SSSE3), F(FMA), F(CX16), F(SSE4_1), F(SSE4_2), F(MOVBE), F(POPCNT),
              F(AESNI), F(XSAVE), F(AVX), F(F16C), F(RDRAND)});
// Leaf 0x80000001. AMD repeats part of leaf 1 in EDX. Hidden: 1 GiB pages, and RDTSCP, because
// TSC_AUX is not the guest's.
constexpr std::uint32_t allowed_e1d = allow<2>({F(SYSCALL), F(NX), F(MMXEXT), F(LM), F(3DNOWEXT), F(3DNOW)});
constexpr std::uint32_t repeated_e1d =
    allow<0>({F(FPU), F(DE), F(TSC), F(MSR), F(PAE), F(CX8), F(APIC), F(CMOV), F(PAT), F(MMX), F(FXSR)});
constexpr std::uint32_t allowed_e1c =
    allow<3>({F(LAHF_LM), F(ABM), F(SSE4A), F(MISALIGNSSE), F(3DNOWPREFETCH), F(XOP), F(FMA4), F(TBM)});
constexpr std::uint32_t allowed_d1a = allow<4>({F(XSAVEOPT), F(XSAVEC), F(XGETBV1)});
// Leaf 7.
constexpr std::uint32_t allowed_7b = allow<5>(
    {F(FSGSBASE), F(BMI1),     F(AVX2),     F(FDP_EXCP_ONLY), F(BMI2),        F(ERMS),       F(NO_FPU_SEL),
     F(AVX512F),  F(AVX512DQ), F(RDSEED),   F(ADX),           F(AVX512_IFMA), F(CLFLUSHOPT), F(CLWB),
     F(AVX512PF), F(AVX512ER), F(AVX512CD), F(SHA),           F(AVX512BW),    F(AVX512VL)});
constexpr std::uint32_t allowed_7c =
    allow<6>({F(PREFETCHWT1), F(AVX512_VBMI), F(AVX512_VBMI2), F(GFNI), F(VAES), F(VPCLMULQDQ),
              F(AVX512_VNNI), F(AVX512_BITALG), F(AVX512_VPOPCNTDQ), F(CLDEMOTE)});
constexpr std::uint32_t allowed_7d =
    allow<9>({F(AVX512_4VNNIW), F(AVX512_4FMAPS), F(FSRM), F(MD_CLEAR), F(SERIALIZE), F(AVX512_FP16)});
constexpr std::uint32_t allowed_71a = allow<10>({F(AVX_VNNI), F(AVX512_BF16), F(FZRM), F(FSRS), F(FSRCS)});
constexpr std::uint32_t allowed_72d = allow<13>({F(MCDT_NO)});
constexpr std::uint32_t allowed_e7d = allow<7>({F(ITSC)});
constexpr std::uint32_t allowed_e8b = allow<8>({F(CLZERO), F(RSTR_FP_ERR_PTRS), F(SSB_NO), F(BTC_NO)});
constexpr std::uint32_t allowed_e21a = allow<11>({F(LFENCE_DISPATCH), F(VERW_CLEAR), F(NSCB), F(SRSO_NO)});

// The features that need YMM registers, and those that need the 512-bit state, by register.
constexpr std::uint32_t avx_1c = allow<1>({F(AVX), F(FMA), F(F16C)});
constexpr std::uint32_t avx_e1c = allow<3>({F(XOP), F(FMA4)});
constexpr std::uint32_t avx_7b = allow<5>({F(AVX2)});
constexpr std::uint32_t avx_7c = allow<6>({F(VAES), F(VPCLMULQDQ)});
constexpr std::uint32_t avx_71a = allow<10>({F(AVX_VNNI)});
constexpr std::uint32_t avx512_7b = allow<5>({F(AVX512F), F(AVX512DQ), F(AVX512_IFMA), F(AVX512PF),
                                              F(AVX512ER), F(AVX512CD), F(AVX512BW), F(AVX512VL)});
constexpr std::uint32_t avx512_7c =
    allow<6>({F(AVX512_VBMI), F(AVX512_VBMI2), F(AVX512_VNNI), F(AVX512_BITALG), F(AVX512_VPOPCNTDQ)});
constexpr std::uint32_t avx512_7d = allow<9>({F(AVX512_4VNNIW), F(AVX512_4FMAPS), F(AVX512_FP16)});
constexpr std::uint32_t avx512_71a = allow<10>({F(AVX512_BF16)});

constexpr std::uint32_t bit(int feature) { return 1U << (feature % 32); }
constexpr std::uint32_t hypervisor = bit(F(HYPERVISOR)), osxsave = bit(F(OSXSAVE)), xsave = bit(F(XSAVE)),
                        sep = bit(F(SEP)), nscb = bit(F(NSCB)), xsavec = bit(F(XSAVEC)),
                        fsgsbase = bit(F(FSGSBASE));
#undef F

// XCR0 (Intel SDM vol. 1, 13.3). MPX and protection keys are hidden, and so is their state.
constexpr std::uint64_t x87 = 1, sse = 2, ymm = 4, avx512_state = 7ULL << 5;
constexpr std::uint64_t known_state = x87 | sse | ymm | avx512_state;
constexpr unsigned legacy_area = 576;  // legacy region and header (Intel SDM vol. 1, 13.4)

constexpr std::uint32_t last_basic = 0xd;
constexpr std::uint32_t extended_base = 0x80000000, leaf_null_selector = 0x80000021;
// The same version as XENVER_version: 4.17.
constexpr std::uint32_t xen_version = (4U << 16) | 17;
constexpr std::uint32_t xen_msr_base = 0x40000000;

bool is_intel(const CpuidResult& leaf0) {
  return leaf0.ebx == 0x756e6547 && leaf0.edx == 0x49656e69 && leaf0.ecx == 0x6c65746e;  // GenuineIntel
}

/// What is offered, without components that need others that are missing.
std::uint64_t consistent(std::uint64_t offered) {
  if ((offered & (x87 | sse)) != (x87 | sse)) return 0;
  if ((offered & ymm) == 0 || (offered & avx512_state) != avx512_state) offered &= ~avx512_state;
  return offered & known_state;
}

}  // namespace

bool xcr0_allowed(std::uint64_t value, std::uint64_t offered) {
  if ((value & ~offered) != 0 || (value & x87) == 0) return false;
  if ((value & ymm) != 0 && (value & sse) == 0) return false;
  const std::uint64_t wide = value & avx512_state;
  return wide == 0 || (wide == avx512_state && (value & ymm) != 0);
}

CpuidPolicy::CpuidPolicy(CpuidSource host, CpuidOptions options) : host_(std::move(host)), options_(options) {
  const CpuidResult leaf0 = host_(0, 0);
  intel_ = is_intel(leaf0);
  max_basic_ = std::min(leaf0.eax, last_basic);
  max_extended_ = std::clamp(host_(extended_base, 0).eax, extended_base, leaf_null_selector);
  if (options_.null_selector_clears_base) max_extended_ = leaf_null_selector;
  const bool has_xsave = max_basic_ >= 0xd && (host_(1, 0).ecx & xsave) != 0;
  if (has_xsave) xcr0_ = consistent(options_.xcr0 & host_(0xd, 0).eax);
}

CpuidResult CpuidPolicy::answer(std::uint32_t leaf, std::uint32_t subleaf, const CpuidAsker& asker) const {
  if (leaf <= max_basic_) return basic(leaf, subleaf, asker);
  if (leaf >= extended_base && leaf <= max_extended_) return extended(leaf);
  if (leaf >= XEN_CPUID_FIRST_LEAF && leaf <= XEN_CPUID_LEAF(XEN_CPUID_MAX_NUM_LEAVES))
    return xen(leaf, subleaf);
  return {};
}

CpuidResult CpuidPolicy::basic(std::uint32_t leaf, std::uint32_t subleaf, const CpuidAsker& asker) const {
  switch (leaf) {
    case 0: {
      CpuidResult result = host_(0, 0);
      result.eax = max_basic_;
      return result;
    }
    case 1: return features(asker);
    case 2: return host_(2, 0);
    case 4: {  // caches: shared by nobody, one core to a package
      CpuidResult result = host_(4, subleaf);
      result.eax &= 0x3fff;
      return result;
    }
    case 7: return structured_features(subleaf);
    case 0xb: return topology(subleaf, asker);
    case 0xd: return xstate(subleaf, asker);
    // 3 serial number; 5 MONITOR; 6 thermal and power; 9 DCA; 0xa performance monitoring
    default: return {};
  }
}

CpuidResult CpuidPolicy::features(const CpuidAsker& asker) const {
  CpuidResult result = host_(1, 0);
  const std::uint32_t apic_id = asker.vcpu.raw() & 0xff;
  result.ebx = (result.ebx & 0xffff) | (1U << 16) | (apic_id << 24);
  result.ecx = (result.ecx & allowed_1c) | hypervisor;
  result.edx &= allowed_1d;
  if (!options_.sysenter) result.edx &= ~sep;
  if ((xcr0_ & ymm) == 0) result.ecx &= ~avx_1c;
  if (xcr0_ == 0) {
    result.ecx &= ~xsave;
  } else if (asker.osxsave || asker.kernel_mode) {
    // On Xen a PV kernel sees the hypervisor's CR4.OSXSAVE here. It looks before it first writes CR4, and
    // without the bit it does not use XSAVE.
    result.ecx |= osxsave;
  }
  return result;
}

CpuidResult CpuidPolicy::structured_features(std::uint32_t subleaf) const {
  const CpuidResult host = host_(7, subleaf);
  CpuidResult result;
  if (subleaf > 2 || subleaf > host_(7, 0).eax) return result;
  const std::uint32_t hidden_by_ymm = (xcr0_ & ymm) == 0 ? ~0U : 0U;
  const std::uint32_t hidden_by_512 = (xcr0_ & avx512_state) == 0 ? ~0U : 0U;
  if (subleaf == 0) {
    result.eax = std::min(host.eax, 2U);
    result.ebx = host.ebx & allowed_7b & ~(hidden_by_ymm & avx_7b) & ~(hidden_by_512 & avx512_7b);
    if (!options_.fsgsbase) result.ebx &= ~fsgsbase;
    result.ecx = host.ecx & allowed_7c & ~(hidden_by_ymm & avx_7c) & ~(hidden_by_512 & avx512_7c);
    result.edx = host.edx & allowed_7d & ~(hidden_by_512 & avx512_7d);
  } else if (subleaf == 1) {
    result.eax = host.eax & allowed_71a & ~(hidden_by_ymm & avx_71a) & ~(hidden_by_512 & avx512_71a);
  } else {
    result.edx = host.edx & allowed_72d;
  }
  return result;
}

/// Each package has one core and each core one thread, so every shift is 0 and the x2APIC ID is the package's
/// (Intel SDM vol. 2, CPUID leaf 0BH).
CpuidResult CpuidPolicy::topology(std::uint32_t subleaf, const CpuidAsker& asker) const {
  CpuidResult result;
  result.ecx = subleaf & 0xff;
  result.edx = asker.vcpu.raw();
  if (subleaf < 2) {
    result.ebx = 1;
    result.ecx |= (subleaf + 1) << 8;  // level type 1: thread, 2: core
  }
  return result;
}

std::uint32_t CpuidPolicy::state_size(std::uint64_t components, bool compacted) const {
  std::uint32_t size = legacy_area;
  for (unsigned i = 2; i < 63; ++i) {
    if ((components & xcr0_ & (1ULL << i)) == 0) continue;
    const CpuidResult component = host_(0xd, i);
    if (!compacted) {
      size = std::max(size, component.ebx + component.eax);
    } else {
      if ((component.ecx & 2) != 0) size = (size + 63) & ~63U;
      size += component.eax;
    }
  }
  return size;
}

CpuidResult CpuidPolicy::xstate(std::uint32_t subleaf, const CpuidAsker& asker) const {
  CpuidResult result;
  if (xcr0_ == 0) return result;
  if (subleaf == 0) {
    result.eax = static_cast<std::uint32_t>(xcr0_);
    result.ebx = state_size(asker.xcr0, false);
    result.ecx = state_size(xcr0_, false);
    result.edx = static_cast<std::uint32_t>(xcr0_ >> 32);
  } else if (subleaf == 1) {
    result.eax = host_(0xd, 1).eax & allowed_d1a;
    if ((result.eax & xsavec) != 0) result.ebx = state_size(asker.xcr0, true);
  } else if (subleaf < 63 && (xcr0_ & (1ULL << subleaf)) != 0) {
    const CpuidResult host = host_(0xd, subleaf);
    result = {host.eax, host.ebx, host.ecx & 2, 0};
  }
  return result;
}

std::uint32_t CpuidPolicy::address_bits() const {
  if (options_.machine_address_bits != 0) return options_.machine_address_bits;
  const bool told = host_(extended_base, 0).eax >= 0x80000008;
  return told ? host_(0x80000008, 0).eax & 0xff : 36;
}

CpuidResult CpuidPolicy::extended(std::uint32_t leaf) const {
  // Leaves past the host's last one are not taken from the host: Intel repeats its last basic leaf there.
  const CpuidResult host = leaf <= host_(extended_base, 0).eax ? host_(leaf, 0) : CpuidResult{};
  switch (leaf) {
    case extended_base: return {max_extended_, host.ebx, host.ecx, host.edx};
    case 0x80000001: {
      // On Intel the repeated bits are reserved and 0. The top of EBX is AMD's package type.
      const std::uint32_t hidden = (xcr0_ & ymm) == 0 ? avx_e1c : 0;
      return {host.eax, host.ebx, host.ecx & allowed_e1c & ~hidden, host.edx & (allowed_e1d | repeated_e1d)};
    }
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:  // the processor's name
    case 0x80000005:  // caches and TLBs
    case 0x80000006: return host;
    case 0x80000007: return {0, 0, 0, options_.tsc_reliable ? host.edx & allowed_e7d : 0};
    case 0x80000008: return {address_bits() | (48U << 8), host.ebx & allowed_e8b, 0, 0};
    case leaf_null_selector: {
      const std::uint32_t measured = options_.null_selector_clears_base ? nscb : 0;
      return {(host.eax & allowed_e21a) | measured, 0, 0, 0};
    }
    // 0x8000000a SVM; 19 large-page TLBs; 1b IBS; 1c LWP; 1d, 1e topology; 1f memory encryption
    default: return {};
  }
}

CpuidResult CpuidPolicy::xen(std::uint32_t leaf, std::uint32_t subleaf) const {
  switch (leaf - XEN_CPUID_FIRST_LEAF) {
    case 0:
      return {XEN_CPUID_LEAF(XEN_CPUID_MAX_NUM_LEAVES), XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX,
              XEN_CPUID_SIGNATURE_EDX};
    case 1: return {xen_version, 0, 0, 0};
    case 2: return {1, xen_msr_base, XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0};
    case 3: {
      const std::uint32_t reliable = options_.tsc_reliable ? 2 : 0;
      const std::uint32_t mode = options_.tsc_never_emulated ? 2 : 0;
      if (subleaf == 0) return {reliable, mode, options_.tsc_khz, 0};
      if (subleaf == 1)
        return {static_cast<std::uint32_t>(options_.tsc_offset),
                static_cast<std::uint32_t>(options_.tsc_offset >> 32), options_.tsc_to_ns_mul,
                static_cast<std::uint32_t>(options_.tsc_shift)};
      if (subleaf == 2) return {options_.tsc_khz, 0, 0, 0};
      return {};
    }
    case 5: return subleaf == 0 ? CpuidResult{0, address_bits(), 0, 0} : CpuidResult{};
    default: return {};  // 4 is for HVM guests
  }
}

}  // namespace pinfold::vmm
