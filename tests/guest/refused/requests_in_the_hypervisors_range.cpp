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

/// The stack pointer is where a request has the place of an entry, and its selector follows, where the value
/// is: a page that was a table would get it.
void lists() {
  Page* const former = new_page();
  CHECK_EQ(make_read_only(former), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(former)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(former)), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, mfn_of(former) * page_size), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, kernel_sp_in_state, 1, nullptr, DOMID_SELF), efault);
  multicall_entry_t call{};
  call.op = __HYPERVISOR_mmu_update;
  call.args[0] = kernel_sp_in_state;
  call.args[1] = 1;
  call.args[3] = DOMID_SELF;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, &call, 1), 0);
  CHECK_EQ(static_cast<long>(call.result), efault);
  CHECK_EQ(static_cast<volatile Page*>(former)->words[0], 0);
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, kernel_sp_in_state, 1), efault);
}

}  // namespace

void test() {
  install_traps();
  static Page stack;
  for (const u64 command : {u64{MMUEXT_TLB_FLUSH_LOCAL}, u64{MMUEXT_INVLPG_LOCAL}}) {
    CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, command), 0);
    CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, kernel_sp_in_state, 1, nullptr, DOMID_SELF), efault);
  }
  lists();
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, word(&stack + 1)), 0);
}
