// What CPUID shows to a domain on this host, and how KVM gets to know.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "vmm/clock.hpp"
#include "vmm/cpuid_policy.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"

namespace pinfold::vmm {

/// The leaves that KVM supports (KVM_GET_SUPPORTED_CPUID), as a source for the policy. The processor's name
/// is asked of `processor`: not every KVM lists it.
[[nodiscard]] CpuidSource kvm_cpuid(std::vector<kvm_cpuid_entry2> supported, CpuidSource processor);

/// The policy for guests of this host, whose clock is `clock`.
[[nodiscard]] tl::expected<CpuidPolicy, std::string> cpuid_policy_for(const Kvm& kvm, const HostTraits& host,
                                                                      const Clock& clock);

/// The policy's leaves as KVM takes them: what CPUID shows where it is not executed by the processor itself.
[[nodiscard]] std::vector<kvm_cpuid_entry2> cpuid_entries(const CpuidPolicy& policy, VcpuId vcpu);

}  // namespace pinfold::vmm
