// TEST ONLY. A host where SYSCALL stays at CPL3 and KVM does not leave the VM there by itself. This is linked
// into pinfold_open_port, with ld's --wrap, and not into pinfold.
#include "vmm/host/probe.hpp"

namespace pinfold::vmm {

KvmResult<HostFacts> real_probe(const Kvm& kvm) asm("__real__ZN7pinfold3vmm5probeERKNS0_3KvmE");
KvmResult<HostFacts> other_probe(const Kvm& kvm) asm("__wrap__ZN7pinfold3vmm5probeERKNS0_3KvmE");

KvmResult<HostFacts> other_probe(const Kvm& kvm) {
  auto facts = real_probe(kvm);
  if (facts) facts->window_exit_at_syscall = false;
  return facts;
}

}  // namespace pinfold::vmm
