// TEST ONLY. Where SYSCALL stays at CPL3, KVM does not leave the VM there by itself. Linked, with ld's
// --wrap, into pinfold_open_port; nothing of this is in pinfold.
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
