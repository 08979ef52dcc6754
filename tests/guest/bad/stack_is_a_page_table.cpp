// The kernel's stack pointer leads into one of its page tables: an exception frame must not be written there.
#include "kit/kit.hpp"

void test() {
  kit::install_traps();
  const auto* table = kit::table_of(1, kit::word(kit::new_page()));
  kit::say("about to lose the stack");
  asm volatile("mov %0, %%rsp\n ud2" : : "r"(table + 1));
}
