// Like behind_a_breakpoint, but without an end: for tests of debuggers and of pausing.
#include "kit/user_mode.hpp"

using namespace kit;

asm(R"(
        .balign 64
        .byte 0xcc
loops_behind_breakpoints:
        .rept 24
        .byte 0xb0, 0xcc                        # mov $0xcc, %al
        .endr
        .byte 0x3c, 0xcc                        # cmp $0xcc, %al
        .byte 0x74, 0xcc                        # je loops_behind_breakpoints
        ud2
)");
extern "C" void loops_behind_breakpoints();

void test() {
  install_traps();
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  load_user_root();
  say("looping");
  enter_user(loops_behind_breakpoints, user_stack, kernel_stack);
}
