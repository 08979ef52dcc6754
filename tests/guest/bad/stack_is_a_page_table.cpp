// The kernel's stack pointer points into one of its page tables. No exception frame may be written there.
#include "kit/kit.hpp"

void test() {
  kit::install_traps();
  const auto* table = kit::table_of(1, kit::word(kit::new_page()));
  kit::say("about to lose the stack");
  asm volatile("mov %0, %%rsp\n ud2" : : "r"(table + 1));
}
