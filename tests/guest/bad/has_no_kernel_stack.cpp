// A handler is registered, but the kernel's stack can't take a frame.
#include "kit/kit.hpp"

void test() {
  kit::install_traps();
  kit::say("about to lose the stack");
  asm volatile("mov %0, %%rsp\n ud2" : : "r"(kit::unmapped_address() + 2048));
}
