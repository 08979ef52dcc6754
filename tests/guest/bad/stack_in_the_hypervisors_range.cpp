// XSA-215: the kernel's stack pointer points into the hypervisor's memory. No frame is written there.
#include "kit/kit.hpp"

void test() {
  kit::install_traps();
  kit::say("about to lose the stack");
  asm volatile("mov %0, %%rsp\n ud2" : : "r"(0xffff804000001000));
}
