// Finds out how this host's KVM behaves, by running a probe guest.
#pragma once

#include "vmm/host/facts.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"

namespace pinfold::vmm {

/// Runs some dozen pieces of guest code, a few milliseconds in all; cheap enough for each start of a guest.
/// An error means that not even plain code at CPL3 ran: this KVM can't be used.
[[nodiscard]] KvmResult<HostFacts> probe(const Kvm& kvm);

/// What a domain needs to know of it.
[[nodiscard]] HostTraits traits_of(const HostFacts& facts);

/// Why no guest may run on such a host, in one line; null if one may. A wall that does not stand is one
/// reason, a mixture of findings that no known kind of KVM shows another.
[[nodiscard]] const char* objection_to(const HostFacts& facts);

}  // namespace pinfold::vmm
