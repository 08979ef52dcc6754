// In front of each of this program's instructions is a byte of INT3. So wherever it is interrupted, it looks
// as if it had just executed a breakpoint. Its kernel gets its timer events all the same. With "breakpoints"
// the program does execute them, and each one arrives, whatever interrupts it.
#include "hostile/events.hpp"

using namespace kit;

// Both instructions follow a byte 0xcc: 74 cc is a JE to 52 bytes before its end.
asm(R"(
        .balign 64
        .byte 0xcc
behind_breakpoints:
        .rept 24
        .byte 0xb0, 0xcc                        # mov $0xcc, %al
        .endr
        .byte 0x3c, 0xcc                        # cmp $0xcc, %al
        .byte 0x74, 0xcc                        # je behind_breakpoints
        ud2

takes_breakpoints:
        xor %ebx, %ebx
1:      inc %rbx
        int3
        cmp $20000, %rbx
        jb 1b
        xor %eax, %eax
        syscall
        ud2
)");
extern "C" void behind_breakpoints();
extern "C" void takes_breakpoints();

namespace {

constexpr u64 enough_events = 50;
u64 breakpoints = 0, out_of_order = 0;

void on_any(Frame& frame) {
  if (frame.vector == event_vector) {
    take_timer_event(asked_for("breakpoints") ? breakpoints : timer_events);
    if (!asked_for("breakpoints") && timer_events == enough_events) finish();
    return;
  }
  if (frame.vector == 3) {
    out_of_order += ++breakpoints != frame.rbx;
    return;
  }
  CHECK_EQ(frame.vector, syscall_vector);
  CHECK_EQ(frame.rbx, 20000);
  CHECK_EQ(breakpoints, 20000);
  CHECK_EQ(out_of_order, 0);
  say("interrupted ", static_cast<long>(timer_events), " times");
  finish();
}

}  // namespace

void test() {
  install_traps(3);  // programs may use INT3
  on_trap = on_any;
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  start_timer_events();
  say("looping");
  enter_user(asked_for("breakpoints") ? takes_breakpoints : behind_breakpoints, user_stack, kernel_stack);
}
