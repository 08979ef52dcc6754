// A page is made read-only, and the other vCPU is flushed. After the flush has returned, no store of the
// other vCPU reaches the page, whatever translation it had. The page becomes a page table at once, so a late
// store would be one into a page table; then it becomes data again. With all ways to flush.
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 120;
Page* target;
u64 faults = 0, stores = 0;

/// Only even numbers, because an entry that is not present may have any other bits.
void second() {
  for (u64 i = 2;; i += 2) {
    __atomic_store_n(&target->words[i / 2 % 512], i, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&stores, 1, __ATOMIC_SEQ_CST);
  }
}

/// The second vCPU's store faulted on the read-only page. It tries again.
void on_fault(Frame& frame) {
  if (frame.vector != 14 || (frame.error & 3) != 3) {
    say("FAILED: trap ", static_cast<long>(frame.vector), ", error code ", hex(frame.error));
    shut_down(SHUTDOWN_crash);
  }
  __atomic_add_fetch(&faults, 1, __ATOMIC_SEQ_CST);
  hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
}

long flush(u32 command) {
  static u64 mask = 1 << 1;
  mmuext_op op{};
  op.cmd = command;
  op.arg1.linear_addr = word(target);
  if (command == MMUEXT_TLB_FLUSH_MULTI || command == MMUEXT_INVLPG_MULTI) op.arg2.vcpumask.p = &mask;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

void make_read_only_by(u64 way) {
  const u64 entry = mfn_of(target) * page_size | (data & ~writable);
  static const u32 commands[] = {MMUEXT_TLB_FLUSH_MULTI, MMUEXT_INVLPG_MULTI, MMUEXT_TLB_FLUSH_ALL,
                                 MMUEXT_INVLPG_ALL};
  if (way == 0) {
    CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, word(target), entry, UVMF_INVLPG | UVMF_ALL), 0);
  } else if (way == 1) {
    CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, word(target), entry, UVMF_TLB_FLUSH | UVMF_ALL), 0);
  } else {
    CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, word(target), entry, UVMF_NONE), 0);
    CHECK_EQ(flush(commands[way - 2]), 0);
  }
}

u64 sum_of_page() {
  u64 sum = 0;
  for (const u64& value : target->words) sum += __atomic_load_n(&value, __ATOMIC_SEQ_CST);
  return sum;
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_fault;
  target = new_page();
  vcpu_guest_context_t& context = context_of(second);
  context.trap_ctxt[14] = trap_info_t{14, 0, FLAT_KERNEL_CS, word(kit_trap_entries) + 14 * 32};
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);

  u64 late = 0;
  for (u64 round = 0; round < rounds; ++round) {
    CHECK(goes_on(stores, 3));
    make_read_only_by(round % 6);
    const u64 before = sum_of_page();
    CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(target)), 0);
    // Sometimes waits until the other vCPU has tried, also on a busy host.
    const u64 tried = __atomic_load_n(&faults, __ATOMIC_SEQ_CST);
    const u64 limit = now_ns() + (round % 10 == 0 ? 20'000'000 : 5'000);
    while (now_ns() < limit && __atomic_load_n(&faults, __ATOMIC_SEQ_CST) == tried) asm volatile("pause");
    late += sum_of_page() != before;
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(target)), 0);
    CHECK_EQ(make_writable(target), 0);
  }
  CHECK_EQ(late, 0);
  CHECK(faults > 0);
  say(static_cast<long>(faults), " stores were held off");
}
