// A handler in the hypervisor's memory has a canonical address, so it can be registered.
// Each entry of it faults.
#include "kit/kit.hpp"

using namespace kit;

void test() {
  static trap_info_t table[33];
  for (u16 vector = 0; vector < 32; ++vector)
    table[vector] = trap_info_t{static_cast<u8>(vector), 0, FLAT_KERNEL_CS, 0xffff804000000000};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
  say("about to fault");
  asm volatile("ud2");
}
