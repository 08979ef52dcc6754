// Hypercalls and subcommands that do not exist, and a multicall in a multicall.
#include <xen/callback.h>
#include <xen/event_channel.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

void test() {
  for (u64 number : {63UL, 127UL, 1000UL, 0xffffffffUL}) {
#ifndef HYPERCALL_PAGE
    CHECK_EQ(hypercall(number, 1, 2, 3, 4, 5), enosys);
#endif
  }
  CHECK_EQ(hypercall(__HYPERVISOR_sched_op, 999, 0), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, 999, 0, nullptr), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 999, nullptr), -2);
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, 999, nullptr), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, 999, nullptr), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, 999, nullptr), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, 999, VMASST_TYPE_writable_pagetables), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, 20), einval);
  CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, 17, 0), einval);
  CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_FS, 0x8000000000000000), einval);

  sched_poll poll{};
  poll.nr_ports = 129;
  CHECK_EQ(hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll), einval);
  evtchn_send send{0};
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send), einval);
  send.port = 100'000'000;
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send), einval);
  trap_info_t traps[2]{};
  traps[0] = {200, 0, FLAT_KERNEL_CS, 0x8000000000000000};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, traps), einval);

  multicall_entry_t inner[1]{};
  inner[0].op = __HYPERVISOR_xen_version;
  inner[0].result = 1234;
  multicall_entry_t outer[3]{};
  outer[0].op = __HYPERVISOR_xen_version;
  outer[1].op = __HYPERVISOR_multicall;
  outer[1].args[0] = word(inner);
  outer[1].args[1] = 1;
  outer[2].op = 777;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, outer, 3), 0);
  CHECK(outer[0].result >= 4UL << 16);
  CHECK_EQ(outer[1].result, einval);
  CHECK_EQ(outer[2].result, enosys);
  CHECK_EQ(inner[0].result, 1234);
}
