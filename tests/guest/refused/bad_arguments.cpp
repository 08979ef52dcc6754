// For pointers that a hypercall can't use it returns Xen's errors, and the guest goes on.
#include <xen/callback.h>
#include <xen/event_channel.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

void bad_pointer(u64 bad) {
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_get_features, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, bad, 1, nullptr, DOMID_SELF), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, bad, 1, nullptr, DOMID_SELF), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, bad, 1), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, bad), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, bad, 512), efault);
}

/// The end of a page behind which nothing is mapped.
u64 last_bytes_before_a_hole(u64 bytes) {
  static Page* first = nullptr;
  if (first == nullptr) {
    first = new_page();
    CHECK_EQ(map(new_page(), 0), 0);
  }
  return word(first + 1) - bytes;
}

void lists_that_run_into_a_hole() {
  // 16 good requests, then the hole. The count is larger, up to 32 bits of ones.
  auto* list = reinterpret_cast<mmu_update_t*>(last_bytes_before_a_hole(16 * sizeof(mmu_update_t)));
  Page* target = new_page();
  for (u64 count : {17UL, 1000UL, 0x7fffffffUL}) {
    for (u64 i = 0; i < 16; ++i) list[i] = {mfn_of(target) * page_size + i * 8, count + i};
    u32 done = 0;
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, list, count, &done, DOMID_SELF), efault);
    if (count <= 1000) CHECK_EQ(done, 16);
    CHECK_EQ(target->words[15], count + 15);
  }
  auto* calls = reinterpret_cast<multicall_entry_t*>(last_bytes_before_a_hole(2 * sizeof(multicall_entry_t)));
  for (u64 i = 0; i < 2; ++i) {
    calls[i] = {};
    calls[i].op = __HYPERVISOR_xen_version;
    calls[i].result = static_cast<unsigned long>(-1);
  }
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 0xffffffffUL), efault);
  CHECK(calls[1].result >= 4UL << 16);
}

void output_across_pages() {
  Page* pair = new_page();
  new_page();
  char* across = reinterpret_cast<char*>(pair + 1) - 3;
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, across), 0);
  CHECK_EQ(across[0], 'x');
  CHECK_EQ(across[4], '3');
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, last_bytes_before_a_hole(3)), efault);
}

void read_only_output() {
  const u64 table = word(table_of(1, word(new_page())));
  const u64 before = *reinterpret_cast<u64*>(table);
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, table), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, table), efault);
  CHECK_EQ(*reinterpret_cast<u64*>(table), before);
  // The count of completed requests can't be stored, but they stay completed.
  Page* target = new_page();
  mmu_update_t request{mfn_of(target) * page_size, 77};
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, table, DOMID_SELF), 0);
  CHECK_EQ(target->words[0], 77);
}

}  // namespace

void test() {
  install_traps();
  bad_pointer(unmapped_address());
  bad_pointer(0x7654321000);        // no tables there at all
  bad_pointer(0x0000800000000000);  // not canonical
  bad_pointer(0x8000000000000000);
  bad_pointer(0xffff804000000000);  // the hypervisor's range
  bad_pointer(0xffff87fffffff000);
  bad_pointer(0xfffffffffffffff8);  // wraps
  lists_that_run_into_a_hole();
  output_across_pages();
  read_only_output();
}
