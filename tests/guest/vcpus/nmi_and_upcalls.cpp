// NMIs in the midst of an upcall, and upcalls in the midst of an NMI's handler. One vCPU, so that Xen's
// domain 0 can be asked, too.
#include <xen/callback.h>
#include <xen/vcpu.h>
#include <xen/version.h>

#include "kit/user_mode.hpp"

using namespace kit;

extern "C" char kit_stack_top[];

namespace {

constexpr u64 nmi_vector = 2;

u64 nmis, upcalls, nmi_depth, deepest;
bool sends_in_upcall, upcall_in_handler;
Frame last;  ///< Of the last NMI.

volatile auto& vcpu() { return shared()->vcpu_info[0]; }
long send_nmi() { return hypercall(__HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 0, 0); }
/// A hypercall that does nothing but let in what is pending.
void let_in() { CHECK(hypercall(__HYPERVISOR_xen_version, XENVER_version, 0) > 0); }

void on_nmi(Frame& frame) {
  ++nmis;
  if (++nmi_depth > deepest) deepest = nmi_depth;
  last = frame;
  if (upcall_in_handler) {
    upcall_in_handler = false;
    vcpu().evtchn_upcall_pending = 1;
    vcpu().evtchn_upcall_mask = 0;
    let_in();
  }
  --nmi_depth;
}

void on_upcall() {
  ++upcalls;
  CHECK_EQ(vcpu().evtchn_upcall_mask, 1);
  vcpu().evtchn_upcall_pending = 0;
  if (!sends_in_upcall) return;
  sends_in_upcall = false;
  const u64 before = nmis;
  CHECK_EQ(send_nmi(), 0);
  // Masked if the upcall came inside an NMI's handler.
  CHECK_EQ(nmis, nmi_depth == 0 ? before + 1 : before);
  CHECK_EQ(vcpu().evtchn_upcall_mask, 1);
}

void on_any(Frame& frame) {
  if (frame.vector == nmi_vector) return on_nmi(frame);
  if (frame.vector == event_vector) return on_upcall();
  CHECK_EQ(frame.vector, syscall_vector);
  CHECK_EQ(nmis, 1);
  CHECK_EQ(upcalls, 1);
  finish();
}

void forget() { nmis = upcalls = deepest = 0; }

/// The upcall's handler is interrupted, and goes on with events masked.
void in_an_upcall() {
  forget();
  sends_in_upcall = true;
  vcpu().evtchn_upcall_pending = 1;
  vcpu().evtchn_upcall_mask = 0;
  let_in();
  CHECK_EQ(upcalls, 1);
  CHECK_EQ(nmis, 1);
  CHECK_EQ(last.cs >> 32 & 0xff, 1);
  CHECK_EQ(vcpu().evtchn_upcall_mask, 0);
}

/// An NMI's handler that does not mask events is interrupted. The upcall's iret ends the masking of NMIs, so
/// the one that waits comes inside the first one's handler.
void an_upcall_in_the_handler() {
  forget();
  sends_in_upcall = upcall_in_handler = true;
  vcpu().evtchn_upcall_mask = 0;
  CHECK_EQ(send_nmi(), 0);
  CHECK_EQ(upcalls, 1);
  CHECK_EQ(nmis, 2);
  CHECK_EQ(deepest, 2);
}

/// Both are due: the NMI is entered first, and the upcall interrupts its handler.
void both_at_once() {
  forget();
  vcpu().evtchn_upcall_mask = 1;
  vcpu().evtchn_upcall_pending = 1;
  CHECK_EQ(send_nmi(), 0);
  CHECK_EQ(nmis, 1);
  CHECK_EQ(upcalls, 0);
  vcpu().evtchn_upcall_mask = 0;
  CHECK_EQ(send_nmi(), 0);
  CHECK_EQ(nmis, 2);
  CHECK_EQ(upcalls, 1);
}

// -- a return to a program by an iret of the NMI's handler
void user_code() { asm volatile("syscall\n ud2" : : : "rcx", "r11"); }

/// While the kernel goes to user mode: what is pending comes first.
[[noreturn]] void on_the_way_to_user_mode() {
  forget();
  load_user_root();
  take_syscalls();
  vcpu().evtchn_upcall_mask = 1;
  vcpu().evtchn_upcall_pending = 1;
  CHECK_EQ(send_nmi(), 0);
  enter_user(user_code, new_page(), reinterpret_cast<Page*>(word(kit_stack_top) - 4 * page_size));
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_any;
  CHECK_EQ(cr2(), cr2());  // maps shared_info
  vcpu().evtchn_upcall_mask = 1;
  callback_register event{};
  event.type = CALLBACKTYPE_event;
  event.address = word(kit_event_entry);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &event), 0);
  in_an_upcall();
  an_upcall_in_the_handler();
  both_at_once();
  on_the_way_to_user_mode();
}
