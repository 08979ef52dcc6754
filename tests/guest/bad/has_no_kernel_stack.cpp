// A handler is registered, but its frame has nowhere to go.
#include "kit/kit.hpp"

void test() {
  kit::install_traps();
  kit::say("about to lose the stack");
  asm volatile("mov %0, %%rsp\n ud2" : : "r"(kit::unmapped_address() + 2048));
}
