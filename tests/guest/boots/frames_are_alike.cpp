// The gate and the monitor make the same frames. On hosts with fast paths the gate pushes a frame if the
// guest kernel's stack is writable; on a clean page, whose first write faults, the monitor does.
#include <xen/callback.h>

#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 raw[12];  // RCX, R11, RSP and RFLAGS in the handler; then the words on its stack
extern char raw_breakpoint[], raw_division[], raw_page_fault[], raw_event[], raw_syscall[];
void user_code();
void interrupted_by_event(u64 stack);
extern char behind_iret[];
}

asm(R"(
        .macro raw_entry name, next
\name:
        mov %rcx, raw(%rip)
        mov %r11, raw+8(%rip)
        mov %rsp, raw+16(%rip)
        pushf
        pop raw+24(%rip)
        .irp word, 0, 1, 2, 3, 4, 5, 6, 7
        mov 8*\word(%rsp), %rcx
        mov %rcx, raw+32+8*\word(%rip)
        .endr
        mov raw(%rip), %rcx
        jmp \next
        .endm
        raw_entry raw_division, kit_trap_entries
        raw_entry raw_breakpoint, kit_trap_entries+32*3
        raw_entry raw_page_fault, kit_trap_entries+32*14
        raw_entry raw_event, kit_event_entry
        raw_entry raw_syscall, kit_syscall_entry

        // The same code for both rounds, so that flags and addresses are equal.
user_code:
        mov $2, %r12d
1:      xor %r10d, %r10d
        xor %eax, %eax
        mov $0x1234, %ecx
        mov $0x5678, %r11d
        std
        syscall
        cld
        mov $0x1234, %ecx
        mov $0x5678, %r11d
        push $0x40a57
        popf
        int3
        push $0x2
        popf
        movq 0x123008, %rax
        push $0x2c7
        popf
        div %r10b
        xor %edx, %edx
        dec %r12d
        jnz 1b
        syscall
        ud2

        // HYPERVISOR_iret to the stack in RDI, events on.
interrupted_by_event:
        push %rbx
        mov %rsp, %rbx
        pushq $0xe02b
        push %rdi
        pushq $0xad7
        pushq $0xe030
        pushq $behind_iret
        pushq $0
        pushq $0x1cc
        pushq $0x111
        pushq $0xaaa
        mov $23, %eax
        syscall
        ud2
behind_iret:
        cld
        mov %rbx, %rsp
        pop %rbx
        ret
)");

namespace {

constexpr u64 words_compared = 12, rsp_word = 2;
struct Record {
  u64 vector, words[words_compared], mask, cr2;
};
Record records[16];
u64 traps = 0;
u64 skip = 0;
Page* stacks[2];
bool on_clean_stacks = false;

volatile u8& mask() { return shared()->vcpu_info[0].evtchn_upcall_mask; }
volatile u8& pending() { return shared()->vcpu_info[0].evtchn_upcall_pending; }

Page* clean(Page* page) {
  CHECK_EQ(map(page, mfn_of(page) << 12 | (data & ~dirty)), 0);
  return page;
}
Page* dirtied(Page* page) {
  page->words[0] = page->words[511] = 1;
  return page;
}
u64 top(Page* page) { return word(page + 1); }

void note(Frame& frame) {
  Record& r = records[traps++ % 16];
  r.vector = frame.vector;
  for (u64 i = 0; i < words_compared; ++i) r.words[i] = raw[i];
  r.words[rsp_word] %= page_size;                           // the two stacks lie in different pages
  if (frame.vector != 14) r.words[words_compared - 1] = 0;  // a word less without an error code
  r.mask = mask();
  r.cr2 = frame.vector == 14 ? cr2() : 0;
}

void compare(const Record& by_gate, const Record& by_monitor) {
  CHECK_EQ(by_gate.vector, by_monitor.vector);
  for (u64 i = 0; i < words_compared; ++i) CHECK_EQ(by_gate.words[i], by_monitor.words[i]);
  CHECK_EQ(by_gate.mask, by_monitor.mask);
  CHECK_EQ(by_gate.cr2, by_monitor.cr2);
}

void kernel_trap(Frame& frame) {
  note(frame);
  frame.rip += skip;
  if (frame.vector != event_vector) return;
  pending() = 0;
  frame.rflags |= 0x200;
}

/// Nothing is pushed before the trap: that would make the stack dirty.
#define ON_STACK(stack, instructions)                                                        \
  asm volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n mov $0xd700, %%eax\n sahf\n" instructions \
               "\n mov %%rbx, %%rsp"                                                         \
               :                                                                             \
               : "r"(stack)                                                                  \
               : "rax", "rbx", "rcx", "rdx", "r11", "memory", "cc")

[[gnu::noinline]] void breakpoint(u64 stack) {
  skip = 0;
  ON_STACK(stack, "mov $0x1234, %%ecx\n mov $0x5678, %%r11d\n int3");
}
[[gnu::noinline]] void division(u64 stack) {
  skip = 2;
  ON_STACK(stack, "mov $0x1234, %%ecx\n mov $0x5678, %%r11d\n xor %%edx, %%edx\n div %%edx");
}
[[gnu::noinline]] void page_fault(u64 stack) {
  skip = 8;
  ON_STACK(stack, "mov $0x1234, %%ecx\n mov $0x5678, %%r11d\n movb $1, 0x123010");
}

void in_the_kernel(void (*trap)(u64), u64 misalignment) {
  traps = 0;
  trap(top(dirtied(stacks[0])) - misalignment);
  trap(top(clean(stacks[0])) - misalignment);
  CHECK_EQ(traps, 2);
  compare(records[0], records[1]);
}

void event(u64 stack) {
  pending() = 1;
  interrupted_by_event(stack);
  CHECK_EQ(pending(), 0);
  CHECK_EQ(mask(), 0);
}

/// In the second round each trap gets the stack that was not used last, which is clean.
void user_trap(Frame& frame) {
  note(frame);
  if (frame.vector == 14) frame.rip += 8;
  if (frame.vector == 0) frame.rip += 3;
  constexpr u64 traps_a_round = 4;
  on_clean_stacks = traps >= traps_a_round;
  if (traps == 2 * traps_a_round + 1) {
    for (u64 i = 0; i < traps_a_round; ++i) compare(records[i], records[i + traps_a_round]);
    finish();
  }
  if (!on_clean_stacks) return;
  Page* next = stacks[traps % 2];
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, clean(next) + 1), 0);
}

void use_raw_entries() {
  static trap_info_t table[] = {{0, 0, FLAT_KERNEL_CS, word(raw_division)},
                                {3, 3, FLAT_KERNEL_CS, word(raw_breakpoint)},
                                {14, 4, FLAT_KERNEL_CS, word(raw_page_fault)},
                                {}};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
  callback_register callback{};
  callback.type = CALLBACKTYPE_event;
  callback.address = word(raw_event);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback), 0);
  callback.type = CALLBACKTYPE_syscall;
  callback.address = word(raw_syscall);
  callback.flags = CALLBACKF_mask_events;
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback), 0);
}

}  // namespace

void test() {
  install_traps();
  use_raw_entries();
  cr2();
  on_trap = kernel_trap;
  for (auto& word : shared()->evtchn_mask) word = ~0UL;
  pending() = 0;
  for (Page*& stack : stacks) stack = new_page();
  for (const u8 masked : {u8{1}, u8{0}}) {
    for (const u64 misalignment : {0UL, 8UL, 24UL}) {
      for (auto trap : {breakpoint, division, page_fault}) {
        mask() = masked;
        in_the_kernel(trap, misalignment);
      }
    }
  }
  skip = 0;
  in_the_kernel(event, 0);
  mask() = 0;
  on_trap = user_trap;
  traps = 0;
  load_user_root();
  enter_user(user_code, new_page(), dirtied(stacks[0]));
}
