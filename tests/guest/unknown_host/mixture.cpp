// TEST ONLY. The host is of no kind that is known: as it is, but that KVM shadows page tables if it
// does not, and the other way round. Linked, with ld's --wrap, into pinfold_unknown_host; nothing
// of this is in pinfold.
#include "vmm/host/probe.hpp"

namespace pinfold::vmm {

KvmResult<HostFacts> real_probe(const Kvm& kvm) asm("__real__ZN7pinfold3vmm5probeERKNS0_3KvmE");
KvmResult<HostFacts> mistaken_probe(const Kvm& kvm) asm("__wrap__ZN7pinfold3vmm5probeERKNS0_3KvmE");

KvmResult<HostFacts> mistaken_probe(const Kvm& kvm) {
  auto facts = real_probe(kvm);
  if (facts) facts->stale_entries = !facts->stale_entries;
  return facts;
}

}  // namespace pinfold::vmm
