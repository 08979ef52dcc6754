// A program executes instructions that a hypervisor may have to emulate, and combinations that processors
// treat specially. Whatever they do, the guest goes on, and the program stays in user mode.
#include "hostile/events.hpp"

using namespace kit;

// Each takes 32 bytes, of which the instruction is followed by UD2.
asm(R"asm(
        .macro one instruction
        .balign 32
        \instruction
        ud2
        .endm
        .balign 32
odd_instructions:
        one "vmcall"
        one "vmmcall"
        one "sysenter"
        one "sysexit"
        one "sysretq"
        one "iretq"
        one "lretq"
        one "hlt"
        one "wbinvd"
        one "invd"
        one "rdpmc"
        one "monitor"
        one "mwait"
        one "xsetbv"
        one "xgetbv"
        one "clts"
        one "lgdt (%rdi)"
        one "lidt (%rdi)"
        one "sgdt (%rdi)"
        one "sldt %eax"
        one "smsw %eax"
        one "lmsw %ax"
        one "ltr %ax"
        one "lldt %ax"
        one "rdmsr"
        one "wrmsr"
        one "mov %rax, %cr3"
        one "mov %cr8, %rax"
        one "mov %rax, %dr7"
        one "invlpg (%rdi)"
        one "swapgs"
        one "sti"
        one "cli"
        one "rdtscp"
        one "cpuid"
        one ".byte 0xf1"
        one ".byte 0xcc"
        one "int $0x80"
        one "int $0x20"
        one "int $2"
        one "int $8"
        one ".byte 0x0f, 0xff, 0xc0"
        one ".byte 0x0f, 0xb9, 0xc0"
        one ".byte 0x62, 0x62"
        one "mov %eax, %ss"
        one "mov %eax, %ds"
        one "mov %eax, %fs"
        one "mov %eax, %gs"
        one "clgi"
        one "vmrun"
        one "vmload"
        one "skinit"
        one "ljmp *(%rdi)"
        one "lcall *(%rdi)"
        # Single steps over what enters the kernel.
        one "pushf; orl $0x100, (%rsp); popf; syscall"
        one "pushf; orl $0x100, (%rsp); popf; .byte 0xcc"
        one "pushf; orl $0x100, (%rsp); popf; .byte 0xf1"
        one "pushf; orl $0x100, (%rsp); popf; mov %ss, %eax; mov %eax, %ss; syscall"
        one "pushf; orl $0x100, (%rsp); popf; mov %ss, %eax; mov %eax, %ss; .byte 0xcc"
        one "pushf; orl $0x4000, (%rsp); popf; syscall"
        one "pushf; orl $0x40000, (%rsp); popf; syscall"
        one "pushf; orl $0x40400, (%rsp); popf; incl 1(%rdi)"
        one "pushf; orl $0x3000, (%rsp); popf; in $0x7e, %al"
        one "lock incl 4094(%rdi)"
        one "mov $0x8000000000000000, %rsp; push %rax"
        one "mov $0xffff810000000008, %rsp; push %rax"
        one "mov $0xffff810000000008, %rsp; syscall"
        one "mov $-1, %rsp; syscall"
        .balign 32
odd_instructions_end:
)asm");
extern "C" char odd_instructions[], odd_instructions_end[];
extern "C" void odd_start();
asm("odd_start: ud2\n");

namespace {

constexpr long slot = 32;
Page* buffer;
Page* stack;
long at = -slot;
u64 rounds = 0, calls = 0, traps = 0;

void on_any(Frame& frame) {
  if (frame.vector == event_vector) return take_timer_event(traps);
  ++traps;
  CHECK_EQ(frame.cs & 3, 3);
  if (frame.vector == syscall_vector) ++calls;
  at += slot;
  if (odd_instructions + at == odd_instructions_end) {
    at = 0;
    if (--rounds == 0) {
      CHECK(calls != 0);
      finish();
    }
  }
  if (asked_for("tell")) say("at ", at / slot, ", vector before ", static_cast<long>(frame.vector));
  frame.rip = word(odd_instructions) + static_cast<u64>(at);
  frame.rsp = word(stack + 1) - 64;
  frame.rflags = 0x202;
  frame.cs = FLAT_RING3_CS64;
  frame.ss = FLAT_RING3_SS64;
  frame.rax = frame.rcx = frame.rdx = 0x7777;
  frame.rdi = frame.rsi = word(buffer);
}

}  // namespace

void test() {
  install_traps();
  rounds = number_behind("rounds=", 20);
  on_trap = on_any;
  buffer = new_page();
  (void)new_page();
  stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  start_timer_events();
  enter_user(odd_start, stack, kernel_stack);
}
