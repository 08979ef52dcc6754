// Where a single step ends that begins at a hypercall. Xen returns from most hypercalls by SYSRET, which
// traps at once if TF is set, and from an iret by IRETQ, after which one instruction runs first.
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 step_from = 0;
void users_first_instruction();
}
asm(".text\nusers_first_instruction:\n nop\n nop\n ud2\n");

namespace {

constexpr u64 tf = 1 << 8;
u64 steps = 0, stepped_to = 0;
u64 events_before_the_step = 0, events = 0;

volatile u8& mask() { return shared()->vcpu_info[0].evtchn_upcall_mask; }
volatile u8& pending() { return shared()->vcpu_info[0].evtchn_upcall_pending; }

void on_any(Frame& frame) {
  if (frame.vector == event_vector) {
    ++events;
    pending() = 0;
    return;
  }
  if (frame.vector != 1) return;  // INT3
  ++steps;
  stepped_to = frame.rip;
  events_before_the_step = events;
  frame.rflags &= ~tf;
}

/// Steps from the SYSCALL at label 1 of `does`; how far RIP got.
#define DISTANCE(before, does)                                                                          \
  ([](u64 argument) {                                                                                   \
    steps = 0, events = 0, stepped_to = 0;                                                              \
    hypercall(__HYPERVISOR_set_debugreg, 6, 0);                                                         \
    asm volatile("mov %0, %%rdi\n lea 1f(%%rip), %%rax\n mov %%rax, step_from\n" before                 \
                 "\n pushf\n orq $256, (%%rsp)\n popf\n" does "\n nop\n nop\n nop\n nop"                \
                 :                                                                                      \
                 : "r"(argument)                                                                        \
                 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r10", "r8", "r9", "r11", "memory", "cc"); \
    CHECK_EQ(steps, 1);                                                                                 \
    CHECK_EQ(hypercall(__HYPERVISOR_get_debugreg, 6) & 1 << 14, 1 << 14);                               \
    return stepped_to - step_from;                                                                      \
  })

/// The frame of an iret to label 1, with these flags for the processor and for Xen.
#define IRET(flags, xens)                                       \
  "mov %%rsp, %%rbx\n push $0xe02b\n push %%rbx\n push $" flags \
  "\n push $0xe030\n push step_from\n push $" xens              \
  "\n push $0\n push $0\n push $0\n mov $23, %%eax\n syscall\n ud2\n 1:"

#define STEPS_BY_IRET(flags, xens)                                                                   \
  ([] {                                                                                              \
    steps = 0, events = 0, stepped_to = 0;                                                           \
    asm volatile(                                                                                    \
        "lea 1f(%%rip), %%rax\n mov %%rax, step_from\n" IRET(flags, xens) "\n nop\n nop\n nop\n nop" \
        :                                                                                            \
        :                                                                                            \
        : "rax", "rbx", "rcx", "r11", "memory", "cc");                                               \
    CHECK_EQ(steps, 1);                                                                              \
    return stepped_to - step_from;                                                                   \
  })

void over_hypercalls() {
  // One that leaves the VM, one that does not, two in one, and an emulated instruction.
  CHECK_EQ(DISTANCE("mov $77, %%eax", "1: syscall")(0), 2);
  CHECK_EQ(DISTANCE("mov $17, %%eax", "1: syscall")(0), 2);
  static multicall_entry list[2];
  list[0].op = list[1].op = 77;
  CHECK_EQ(DISTANCE("mov $13, %%eax\n mov $2, %%esi", "1: syscall")(word(list)), 2);
  CHECK_EQ(static_cast<long>(list[1].result), -38);
  CHECK_EQ(DISTANCE("", "1: clts")(0), 2);
  CHECK_EQ(DISTANCE("", "1: nop")(0), 1);
}

void over_iret() {
  CHECK_EQ(STEPS_BY_IRET("0x302", "0")(), 1);
  CHECK_EQ(STEPS_BY_IRET("0x302", "0x100")(), 0);  // VGCF_in_syscall
}

/// An event that is due comes first, and its handler's return is an iret.
void with_an_event() {
  mask() = 1;
  pending() = 1;
  CHECK_EQ(STEPS_BY_IRET("0x302", "0x100")(), 1);
  CHECK_EQ(events_before_the_step, 1);
  mask() = 1;
  pending() = 1;
  CHECK_EQ(DISTANCE("mov $17, %%eax\n mov $0, %%ebx\n push %%rax\n call unmask\n pop %%rax", "1: syscall")(0),
           3);
  CHECK_EQ(events_before_the_step, 1);
  mask() = 1;
}

/// The same into user mode.
void in_user_mode(Frame& frame) {
  if (frame.vector == 1) {
    ++steps;
    stepped_to = frame.rip;
    return;  // with TF still set
  }
  CHECK_EQ(frame.vector, 6);
  CHECK_EQ(steps, 3);
  finish();
}

void note_first(Frame& frame) {
  CHECK_EQ(frame.vector, 1);
  CHECK_EQ(frame.rip, word(users_first_instruction));
  CHECK_EQ(frame.cs & 3, 3);
  ++steps;
  on_trap = in_user_mode;
}

}  // namespace

extern "C" void unmask() { mask() = 0; }

void test() {
  install_traps();
  on_trap = on_any;
  cr2();
  for (auto& word : shared()->evtchn_mask) word = ~0UL;
  pending() = 0;
  mask() = 1;
  callback_register callback{};
  callback.type = CALLBACKTYPE_event;
  callback.address = word(kit_event_entry);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback), 0);
  over_hypercalls();
  over_iret();
  with_an_event();
  steps = 0;
  on_trap = note_first;
  load_user_root();
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, new_page() + 1), 0);
  asm volatile(
      "push %2\n push %1\n push $0x302\n push $0xe033\n push %0\n push $0x100\n push $0\n push $0\n push $0\n"
      "mov $23, %%eax\n syscall\n ud2"
      :
      : "r"(users_first_instruction), "r"(new_page() + 1), "r"(u64{FLAT_KERNEL_SS})
      : "memory");
}
