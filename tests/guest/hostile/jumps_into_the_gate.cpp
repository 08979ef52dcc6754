// A program jumps thousands of times to addresses of each kind in the gate, while timer events interrupt it
// as often as the host can. It gets a page fault each time, as for any other address that it may not use, or
// at most a system call, and its guest goes on.
#include "hostile/events.hpp"

using namespace kit;

extern "C" u64 jump_target;
u64 jump_target = 0;

// RCX and R11 keep the values that the guest's kernel left, and RSP can't be used to push anything.
asm(R"(
jumps:
        xor %esp, %esp
        jmp *jump_target(%rip)
)");
extern "C" void jumps();

namespace {

// vmm/gate/layout.hpp
constexpr u64 gate = 0xffff810000000000, cpu_area = gate + 0x200000;
constexpr u64 entry_stub_page = 34, fast_text_page = 35;
constexpr u64 targets[] = {
    gate,         // SYSCALL's entry
    gate + 2,     // behind its OUT
    gate + 0x10,  // the entry of 32-bit code
    gate + 0x12,
    gate + 0x1000,  // exceptions 0, 13 and 14, at and behind their OUT
    gate + 0x1000 + 13 * 16,
    gate + 0x1000 + 14 * 16,
    gate + 0x1002 + 14 * 16,
    gate + 0x2000,                          // the IDT
    cpu_area + entry_stub_page* page_size,  // an entry stub, its first and a later instruction
    cpu_area + entry_stub_page* page_size + 13,
    cpu_area + fast_text_page* page_size,  // the fast paths: exception 0, 14, and many others
    cpu_area + fast_text_page* page_size + 14 * 16,
};
constexpr u64 fixed_targets = sizeof targets / sizeof *targets;
/// Then the addresses of the fast paths, whose ways out are at unknown places.
constexpr u64 swept = page_size;

u64 rounds = 0;
u64 jumped = 0, faults_right = 0, system_calls = 0;

u64 target(u64 n) {
  const u64 of_round = n % (fixed_targets * 64 + swept);
  if (of_round < fixed_targets * 64) return targets[of_round % fixed_targets];
  return cpu_area + fast_text_page * page_size + (of_round - fixed_targets * 64);
}

/// Where SYSCALL stays at CPL3, a vCPU that is interrupted at its entry looks as if it had executed SYSCALL.
/// The kernel then gets the system call that RCX and R11 describe, which the program could have made.
bool is_system_call_of_rcx(const Frame& frame) {
  return frame.vector == syscall_vector && jump_target == gate && frame.rip == word(jumps);
}
bool is_fault_at_target(const Frame& frame) {
  return frame.vector == 14 && (frame.error & 4) != 0 && frame.rip == jump_target && cr2() == jump_target &&
         (frame.cs & 3) == 3;
}

void on_any(Frame& frame) {
  if (frame.vector == event_vector) return take_timer_event(jumped);
  if (is_fault_at_target(frame)) {
    ++faults_right;
  } else if (is_system_call_of_rcx(frame)) {
    ++system_calls;
  } else {
    say("vector ", static_cast<long>(frame.vector), " at ", hex(frame.rip), " error ", hex(frame.error));
    CHECK(false);
    finish();
  }
  if (++jumped == rounds) {
    CHECK_EQ(faults_right + system_calls, rounds);
    CHECK(system_calls < rounds / 100);
    say("interrupted ", static_cast<long>(timer_events), " times, ", static_cast<long>(system_calls),
        " times at SYSCALL's entry");
    finish();
  }
  jump_target = target(jumped);
  frame.rip = word(jumps);
  // Registers as SYSCALL sets them.
  frame.rcx = word(jumps);
  frame.r11 = frame.rflags;
}

}  // namespace

void test() {
  install_traps();
  cr2();
  rounds = number_behind("rounds=", 20'000);
  on_trap = on_any;
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  jump_target = target(0);
  start_timer_events();
  enter_user(jumps, user_stack, kernel_stack);
}
