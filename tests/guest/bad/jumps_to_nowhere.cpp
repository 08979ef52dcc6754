// No handler is registered, and the guest jumps to an address that is not mapped.
#include "kit/kit.hpp"

void test() {
  kit::say("about to jump");
  asm volatile("mov $0xcafe, %%ebx\n jmp *%0" : : "r"(kit::unmapped_address()) : "rbx");
}
