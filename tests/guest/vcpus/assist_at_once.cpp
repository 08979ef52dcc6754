// One vCPU says whether plain stores to page tables are emulated, and another one, which runs in the guest
// all the while, makes such stores. What the first has said holds for the second's next store.
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 60;
u64 asked = 0, said = 0, refused = 0;  // rounds; `refused`: calls

u64 read(const u64& counter) { return __atomic_load_n(&counter, __ATOMIC_SEQ_CST); }
bool is_on(u64 round) { return round % 2 == 0; }

/// The second vCPU: enables or disables the assist whenever it is asked to.
void say() {
  for (u64 round = 1; round <= rounds; ++round) {
    while (read(asked) != round) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
    const long done = hypercall(__HYPERVISOR_vm_assist, is_on(round) ? VMASST_CMD_enable : VMASST_CMD_disable,
                                VMASST_TYPE_writable_pagetables);
    if (done != 0) __atomic_add_fetch(&refused, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&said, round, __ATOMIC_SEQ_CST);
  }
  for (;;) vcpu_op(VCPUOP_down, 1);
}

}  // namespace

void test() {
  install_traps();
  Page* const window = new_page();
  u64* const entry = &table_of(1, word(window))->words[slot_of(1, word(window))];
  const u64 own = *entry & ~accessed;
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of<1>(say)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  for (u64 round = 1; round <= rounds; ++round) {
    __atomic_store_n(&asked, round, __ATOMIC_SEQ_CST);
    while (read(said) != round) asm volatile("pause");
    FAULTING("mov %0, %%rax\n xchg %%rax, (%1)", "r"(own), "r"(entry));
    CHECK_EQ(caught.vector, is_on(round) ? Caught::none : 14);
  }
  CHECK_EQ(refused, 0);
}
