// What CPUID shows a PV guest: the host's processor without the features that an unprivileged
// guest kernel can't use.
//
// Each feature is allowed by name; unknown ones stay hidden. The selection is Xen's for PV guests (the
// attribute 'A' in xen/arch-x86/cpufeatureset.h), without features that need MSRs that pinfold does not
// offer. A feature whose register state the guest may not enable in XCR0 is hidden, too.
//
// This applies to emulated CPUID only. On hosts where CPUID runs natively at CPL3, user
// programs see the host's leaves. So the kernel must be offered the state components that they
// find there (CpuidOptions::xcr0).
#pragma once

#include <cstdint>
#include <functional>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

struct CpuidResult {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  friend bool operator==(const CpuidResult&, const CpuidResult&) = default;
};

/// Returns a processor's leaves: the host's own, or those that KVM supports. Takes any leaf and subleaf.
using CpuidSource = std::function<CpuidResult(std::uint32_t leaf, std::uint32_t subleaf)>;

/// What is the same for all of a domain's vCPUs, for good.
struct CpuidOptions {
  /// State components that the guest may enable in XCR0; 0: no XSAVE at all.
  std::uint64_t xcr0 = 0;
  /// Frequency of the guest's TSC. 0 if unknown.
  std::uint32_t tsc_khz = 0;
  /// nanoseconds = ((tsc << tsc_shift) * tsc_to_ns_mul) >> 32, as in vcpu_time_info (xen/xen.h).
  std::uint32_t tsc_to_ns_mul = 0;
  std::int32_t tsc_shift = 0;
  std::uint64_t tsc_offset = 0;
  /// The host's TSC is synchronous and constant: Xen's leaf says so, and invariant TSC is
  /// shown if the host has it.
  bool tsc_reliable = false;
  /// Tells the guest that RDTSC will never be emulated: Linux then takes the TSC itself as its clock.
  bool tsc_never_emulated = false;
  /// Loading a null selector into FS or GS clears its base. All Intel processors do that, by measurement;
  /// AMD's say in CPUID if they do.
  bool null_selector_clears_base = false;
  /// The guest may set CR4.FSGSBASE. False hides FSGSBASE.
  bool fsgsbase = false;
  /// SYSENTER from compatibility mode reaches the monitor. False hides SEP.
  bool sysenter = true;
  /// Bits of machine addresses that page-table entries may hold; 0: the host's.
  std::uint8_t machine_address_bits = 0;
};

/// What depends on the vCPU and its mode.
struct CpuidAsker {
  VcpuId vcpu;
  bool kernel_mode = true;
  /// The vCPU's virtual CR4.OSXSAVE.
  bool osxsave = false;
  /// The vCPU's virtual XCR0, for the save area's present size in leaf 0xd.
  std::uint64_t xcr0 = 1;
};

class CpuidPolicy {
 public:
  CpuidPolicy(CpuidSource host, CpuidOptions options);

  /// Leaves that don't exist read as zeros.
  [[nodiscard]] CpuidResult answer(std::uint32_t leaf, std::uint32_t subleaf, const CpuidAsker& asker) const;

  /// State components shown, a subset of the option: what XSETBV may set (bit 0 always must be).
  [[nodiscard]] std::uint64_t xcr0_offered() const { return xcr0_; }
  /// Is this an Intel processor? It decides which MSRs exist (vmm/emulate/msr.hpp).
  [[nodiscard]] bool intel() const { return intel_; }

 private:
  [[nodiscard]] CpuidResult basic(std::uint32_t leaf, std::uint32_t subleaf, const CpuidAsker& asker) const;
  [[nodiscard]] CpuidResult extended(std::uint32_t leaf) const;
  [[nodiscard]] CpuidResult xen(std::uint32_t leaf, std::uint32_t subleaf) const;
  [[nodiscard]] CpuidResult features(const CpuidAsker& asker) const;
  [[nodiscard]] CpuidResult structured_features(std::uint32_t subleaf) const;
  [[nodiscard]] CpuidResult topology(std::uint32_t subleaf, const CpuidAsker& asker) const;
  [[nodiscard]] CpuidResult xstate(std::uint32_t subleaf, const CpuidAsker& asker) const;
  [[nodiscard]] std::uint32_t state_size(std::uint64_t components, bool compacted) const;
  [[nodiscard]] std::uint32_t address_bits() const;

  CpuidSource host_;
  CpuidOptions options_;
  bool intel_ = false;
  std::uint32_t max_basic_ = 0;
  std::uint32_t max_extended_ = 0;
  std::uint64_t xcr0_ = 0;
};

/// May a guest that is offered `offered` set XCR0 to `value`? (Intel SDM vol. 1, 13.3.)
[[nodiscard]] bool xcr0_allowed(std::uint64_t value, std::uint64_t offered);

}  // namespace pinfold::vmm
