// A request in the hypervisor's memory is not read, although monitor and gate could: the result would reveal
// what is there. The state page of the gate has the kernel's stack pointer, which the guest sets, so the
// guest can make it look like a request.
#include <xen/arch-x86/xen.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

/// The first vCPU's state page and the field for the stack pointer (vmm/gate/layout.hpp, state_page.hpp).
constexpr u64 kernel_sp_in_state = 0xffff810000224000 + 8;
constexpr long efault = -14;

}  // namespace

void test() {
  install_traps();
  static Page stack;
  for (const u64 command : {u64{MMUEXT_TLB_FLUSH_LOCAL}, u64{MMUEXT_INVLPG_LOCAL}}) {
    CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, command), 0);
    CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, kernel_sp_in_state, 1, nullptr, DOMID_SELF), efault);
  }
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, word(&stack + 1)), 0);
}
