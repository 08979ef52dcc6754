// A program uses the gate's port in all ways, also with other sizes and repeated, while timer events come as
// often as the host can. It gets #GP with unchanged registers, and never runs as its kernel.
#include "hostile/events.hpp"

using namespace kit;

// Each 16 bytes: one instruction, then UD2.
asm(R"(
        .macro one instruction:vararg
        .balign 16
        \instruction
        ud2
        .endm
        .balign 16
port_instructions:
        one in $0x7e, %al
        one in $0x7e, %ax
        one in $0x7e, %eax
        one in %dx, %al
        one in %dx, %eax
        one out %al, $0x7e
        one out %ax, $0x7e
        one out %eax, $0x7e
        one out %al, %dx
        one out %eax, %dx
        one insb
        one insl
        one rep insb
        one rep insl
        one outsb
        one outsl
        one rep outsb
        one rep outsw
        one rep outsl
        .balign 16
port_instructions_end:

// If the program ran as the kernel, this would say so.
calls_its_kernel:
        xor %eax, %eax
        syscall
        ud2
)");
extern "C" char port_instructions[], port_instructions_end[];
extern "C" void calls_its_kernel();

namespace {

constexpr u64 marks = 0x1234567;
constexpr long slot = 16;
Page* buffer;
u64 rounds = 0, round_number = 0, wrong = 0, traps = 0;
long at = 0;

void enter(Frame& frame) {
  frame.rip = word(port_instructions) + static_cast<u64>(at);
  frame.rax = marks;
  frame.rbx = marks + 1;
  frame.rcx = 100;
  frame.rdx = 0x7e;
  frame.rsi = frame.rdi = word(buffer);
}

/// The fault is at the instruction; with "open-port" also behind its prefix or at its end.
bool right_place(u64 rip) {
  const u64 here = rip - word(port_instructions) - static_cast<u64>(at);
  return asked_for("open-port") ? here <= 2 : here == 0;
}

void on_fault(Frame& frame) {
  const bool right = frame.vector == 13 && frame.error == 0 && (frame.cs & 3) == 3 &&
                     right_place(frame.rip) && frame.rax == marks && frame.rbx == marks + 1 &&
                     frame.rdx == 0x7e;
  if (!right && ++wrong < 5)
    say("FAILED: instruction ", at / slot, ": vector ", static_cast<long>(frame.vector), " rip+",
        hex(frame.rip - word(port_instructions) - static_cast<u64>(at)), " rax ", hex(frame.rax));
  at += slot;
  if (port_instructions + at == port_instructions_end) {
    at = 0;
    // If the hypervisor still takes it for a program, its SYSCALL arrives here.
    frame.rip = word(calls_its_kernel);
    return;
  }
  enter(frame);
}

void on_any(Frame& frame) {
  if (frame.vector == event_vector) return take_timer_event(traps);
  ++traps;
  if (frame.vector != syscall_vector) return on_fault(frame);
  if (++round_number == rounds) {
    CHECK_EQ(wrong, 0);
    CHECK(timer_events != 0);
    say("interrupted ", static_cast<long>(timer_events), " times");
    finish();
  }
  enter(frame);
}

}  // namespace

void test() {
  install_traps();
  rounds = number_behind("rounds=", 500);
  on_trap = on_any;
  buffer = new_page();
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  start_timer_events();
  enter_user(calls_its_kernel, user_stack, kernel_stack);
}
