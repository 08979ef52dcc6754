// Advisories about vcpu_op, sched_op, event channels and the grant table of a running guest.
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr long enoent = -2, enxio = -6, eacces = -13, eexist = -17, enospc = -28;

long vcpu(u32 command, u64 id, void* argument) {
  return hypercall(__HYPERVISOR_vcpu_op, command, id, argument);
}

/// XSA-20: periods and deadlines near the limits of 64 bits.
void timers() {
  for (u64 period : {0UL, 1UL, 999'999UL, 1UL << 62, 1UL << 63, ~0UL}) {
    vcpu_set_periodic_timer timer{period};
    CHECK_EQ(vcpu(VCPUOP_set_periodic_timer, 0, &timer), einval);
  }
  for (u64 deadline : {1UL, 1UL << 62, 1UL << 63, ~0UL}) {
    vcpu_set_singleshot_timer timer{deadline, 0};
    CHECK_EQ(vcpu(VCPUOP_set_singleshot_timer, 0, &timer), 0);
    CHECK_EQ(hypercall(__HYPERVISOR_set_timer_op, deadline), 0);
  }
  CHECK_EQ(vcpu(VCPUOP_stop_singleshot_timer, 0, nullptr), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_set_timer_op, 0), 0);
}

/// XSA-327: a vcpu_info in frames that are not the guest's data.
void vcpu_info_places() {
  vcpu_register_vcpu_info place{};
  place.mfn = mfn_of(new_page());
  for (u32 offset : {1U, 4U, 7U, 4096U - 56, 4096U - 8, 4095U, 4096U, 0xfffffff8U, 0xffffffffU}) {
    place.offset = offset;
    CHECK_EQ(vcpu(VCPUOP_register_vcpu_info, 0, &place), enxio);
  }
  place.offset = 0;
  for (u64 mfn : {0UL, 1UL << 20, 1UL << 40, ~0UL}) {
    place.mfn = mfn;
    CHECK_EQ(vcpu(VCPUOP_register_vcpu_info, 0, &place), einval);
  }
  for (int level = 1; level <= 4; ++level) {
    place.mfn = mfn_of(table_of(level, word(&place)));
    const long got = vcpu(VCPUOP_register_vcpu_info, 0, &place);
    CHECK(got == eacces || got == einval);  // which of the two depends on the version of Xen
  }
  for (u64 id : {1UL, 8192UL, 0xffffffffUL}) CHECK_EQ(vcpu(VCPUOP_register_vcpu_info, id, &place), enoent);
}

/// XSA-296: a running vCPU can't be initialised again.
void initialise_again() {
  CHECK_EQ(vcpu(VCPUOP_initialise, 0, new_page()), eexist);
  CHECK_EQ(vcpu(VCPUOP_initialise, 1, new_page()), enoent);
}

/// Areas that the hypervisor writes at any time can't be in its own memory, nor in page tables.
void areas() {
  vcpu_register_runstate_memory_area area{};
  for (u64 bad : {0xffff800000000000UL, 0xffff804000000000UL, 0xffff87fffffffff8UL, 0x0000800000000000UL}) {
    area.addr.p = bad;
    CHECK_EQ(vcpu(VCPUOP_register_runstate_memory_area, 0, &area), efault);
    CHECK_EQ(vcpu(VCPUOP_register_vcpu_time_memory_area, 0, &area), efault);
  }
  Page* table = table_of(1, word(&area));
  const u64 before = table->words[0];
  for (u64 address : {word(table), word(unmapped_address()), word(table + 1) - 8}) {
    area.addr.p = address;
    CHECK_EQ(vcpu(VCPUOP_register_runstate_memory_area, 0, &area), 0);
    CHECK_EQ(vcpu(VCPUOP_register_vcpu_time_memory_area, 0, &area), 0);
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
    CHECK_EQ(table->words[0], before);
  }
}

/// XSA-221: ports that do not exist. XSA-317: too many ports. XSA-107, 188: FIFO operations before its setup.
void ports() {
  for (u32 number : {32U, 64U, 4095U, 4096U, 0x10000U, 0xffffffffU}) {
    evtchn_port_t port = number;
    sched_poll poll{};
    poll.ports.p = &port;
    poll.nr_ports = 1;
    poll.timeout = 1;
    const long got = hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
    CHECK(got == einval || (got == 0 && number < 4096));
  }
  long got = 0;
  u32 opened = 0;
  for (; opened < 5000 && got == 0; ++opened) {
    evtchn_alloc_unbound alloc{DOMID_SELF, DOMID_SELF, 0};
    got = hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &alloc);
  }
  CHECK_EQ(got, enospc);
  CHECK(opened < 4096 || is_dom0());
  for (u32 port = 100; port < 4096; ++port) {
    evtchn_close close{port};
    hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_close, &close);
  }
  evtchn_expand_array expand{mfn_of(new_page())};
  CHECK(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_expand_array, &expand) < 0);
  for (u64 frame : {0UL, 1UL << 40, ~0UL}) {
    evtchn_init_control control{frame, 0, 0, 0, {}};
    CHECK(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_init_control, &control) < 0);
    expand.array_gfn = frame;
    CHECK(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_expand_array, &expand) < 0);
  }
}

/// XSA-18, 134, 255, 316, 382: grant-table operations on grants and tables that do not exist.
void grants() {
  gnttab_swap_grant_ref swap{0, 0x7fffffff, 0};
  const long swapped = hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_swap_grant_ref, &swap, 1);
  CHECK(swapped < 0 || swap.status < 0);
  static u64 frames[64];
  gnttab_get_status_frames status{};
  status.nr_frames = 0xffffffff;
  status.dom = DOMID_SELF;
  status.frame_list.p = frames;
  const long told = hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_get_status_frames, &status, 1);
  CHECK(told < 0 || status.status < 0);
  for (u64 dom : {0UL, 77UL, u64{DOMID_SELF}, 0x7ff4UL}) {
    gnttab_map_grant_ref map_ref{};
    map_ref.dom = static_cast<domid_t>(dom);
    map_ref.ref = 0xffffffff;
    map_ref.flags = GNTMAP_host_map | GNTMAP_contains_pte;
    map_ref.host_addr = entry_address(1, word(frames)) + 4;
    CHECK(hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, &map_ref, 1) <= 0);
    CHECK(map_ref.status < 0);
  }
  gnttab_unmap_grant_ref unmap{};
  unmap.handle = 12345;
  CHECK_EQ(hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, &unmap, 1), 0);
  CHECK(unmap.status < 0);
  for (u64 count : {0x80000000UL, 0xffffffffUL})
    CHECK_EQ(hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, frames, count), einval);
}

/// XSA-152, 313, 506: hypercalls that are not offered: profilers, device models, tmem, kexec and the like.
void absent_hypercalls() {
  if (is_dom0()) return;
  for (u64 number : {27UL, 31UL, 34UL, 37UL, 38UL, 39UL, 40UL, 41UL, 42UL})
    for (u64 command : {0UL, 1UL, 0xffffffffUL, ~0UL})
      CHECK_EQ(hypercall(number, command, unmapped_address(), ~0UL), enosys);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  timers();
  vcpu_info_places();
  initialise_again();
  areas();
  ports();
  grants();
  absent_hypercalls();
}
