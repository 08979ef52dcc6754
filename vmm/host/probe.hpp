// Finds out how this host's KVM behaves by running a probe guest.
#pragma once

#include "vmm/host/facts.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"

namespace pinfold::vmm {

/// Runs a dozen pieces of guest code, which takes a few milliseconds. An error means that this KVM can't be
/// used: not even plain code at CPL3 ran.
[[nodiscard]] KvmResult<HostFacts> probe(const Kvm& kvm);

/// The facts that a domain needs.
[[nodiscard]] HostTraits traits_of(const HostFacts& facts);

/// Why no guest may run on such a host, in one line; null if guests may run. Reasons are a wall that does not
/// hold, and a combination of facts that no known KVM has.
[[nodiscard]] const char* objection_to(const HostFacts& facts);

}  // namespace pinfold::vmm
