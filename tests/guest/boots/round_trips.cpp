// A thousand each of what ordinary kernels and programs do all the time: system calls, exceptions, page
// faults, returns, stack switches, segment bases, FPU task switches, local TLB flushes, events. The test
// counts exits: a gate with fast paths leaves the VM for none of these.
#include <xen/callback.h>

#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 calls_left = 1000;
void user_code();
}

asm(R"(
user_code:
        syscall
        int3
        push %rax
        push %rcx
        movb $1, 0x123000
        div %r10b
        pop %rcx
        pop %rax
        jmp user_code
)");

namespace {

constexpr u64 rounds = 1000;
u64 events = 0, faults = 0, kernel_traps = 0;

volatile u8& mask() { return shared()->vcpu_info[0].evtchn_upcall_mask; }
volatile u8& pending() { return shared()->vcpu_info[0].evtchn_upcall_pending; }

void count(Frame& frame) {
  if (frame.vector == event_vector) {
    ++events;
    pending() = 0;
    frame.rflags |= 0x200;
  } else if (frame.vector == 14) {
    ++faults;
    frame.rip += 8;
  } else if (frame.vector == 0) {
    frame.rip += 3;
  } else if (frame.vector == 3) {
    ++kernel_traps;
  } else if (frame.vector == syscall_vector) {
    CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, (word(&frame) | (page_size - 1)) + 1), 0);
    if (--calls_left != 0) return;
    CHECK_EQ(faults, rounds - 1);
    CHECK_EQ(events, rounds);
    finish();
  }
}

void in_the_kernel() {
  static u64 base = 0x600d;
  for (u64 i = 0; i < rounds; ++i) {
    asm volatile("int3" ::: "memory");
    hypercall(__HYPERVISOR_fpu_taskswitch, i % 2);
    hypercall(__HYPERVISOR_set_segment_base, SEGBASE_FS, &base);
    hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER, &base);
    hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, 0);
    extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
    extended(MMUEXT_INVLPG_LOCAL, word(&base));
    // Like Linux, when it enables interrupts while an event is pending.
    mask() = 1;
    pending() = 1;
    mask() = 0;
    hypercall(__HYPERVISOR_xen_version, 0, nullptr);
    CHECK_EQ(pending(), 0);
  }
  u64 value = 0;
  asm volatile("mov %%fs:0, %0" : "=r"(value)::"memory");
  CHECK_EQ(value, 0x600d);
  CHECK_EQ(kernel_traps, rounds);
  CHECK_EQ(events, rounds);
  mask() = 1;
}

}  // namespace

void test() {
  install_traps();
  cr2();
  on_trap = count;
  for (auto& word : shared()->evtchn_mask) word = ~0UL;
  pending() = 0;
  callback_register callback{};
  callback.type = CALLBACKTYPE_syscall;
  callback.address = word(kit_syscall_entry);
  callback.flags = CALLBACKF_mask_events;
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback), 0);
  callback.type = CALLBACKTYPE_event;
  callback.address = word(kit_event_entry);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback), 0);
  in_the_kernel();
  load_user_root();
  enter_user(user_code, new_page(), new_page());
}
