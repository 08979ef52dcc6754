// Breakpoints on ports, with CR4.DE as on Xen: they are met by emulated IN, OUT and OUTS. (Xen's own are in
// check_guest_io_breakpoint of xen/arch/x86/pv/emul-priv-op.c; for domain 0 on an emulated processor,
// Xen 4.17 meets none.)
#include <xen/physdev.h>

#include "debug/registers.hpp"
#include "refused/errors.hpp"

using namespace kit;
using namespace debug;

namespace {

constexpr u64 cr4_de = 8;
constexpr u64 port = 0x20;  // of the interrupt controller, which no guest has

void set_cr4(u64 bits) {
  asm volatile("mov %%cr4, %%rax\n and $~8, %%rax\n or %0, %%rax\n mov %%rax, %%cr4"
               :
               : "r"(bits)
               : "rax", "memory");
}

void out(u64 to, u64 wanted_causes) {
  forget();
  u64 behind;
  asm volatile("lea 1f(%%rip), %0\n out %%al, %%dx\n1: nop" : "=&r"(behind) : "d"(to), "a"(0L) : "memory");
  CHECK_EQ(hits.count, wanted_causes != 0 ? 1 : 0);
  CHECK_EQ(hits.causes, wanted_causes);
  if (wanted_causes != 0) CHECK_EQ(hits.last.rip, behind);
}

void with_and_without_debugging_extensions() {
  CHECK_EQ(set_register(0, port), 0);
  CHECK_EQ(set_register(7, watch(0, on_ports, 1)), eperm);
  CHECK_EQ(set_register(7, local(1) | kind(0, on_ports, 1)), eperm);  // also where another one is enabled
  CHECK_EQ(set_register(7, kind(0, on_ports, 1)), 0);                 // none is
  CHECK_EQ(get_register(7), dr7_initial | kind(0, on_ports, 1));
  out(port, 0);
  set_cr4(cr4_de);
  CHECK_EQ(set_register(7, watch(0, on_ports, 1)), 0);
  CHECK_EQ(get_register(7), dr7_initial | watch(0, on_ports, 1));
  out(port, 1);
  out(port + 1, 0);
  set_cr4(0);
  out(port, 0);
  set_cr4(cr4_de);
}

void lengths() {
  CHECK_EQ(set_register(3, port + 1), 0);
  CHECK_EQ(set_register(7, watch(3, on_ports, 2)), 0);
  out(port - 1, 0);
  out(port, 8);
  out(port + 1, 8);
  out(port + 2, 0);
  forget();
  asm volatile("out %%ax, %%dx" : : "d"(port - 1), "a"(0L) : "memory");
  CHECK_EQ(hits.causes, 8);
  forget();
  asm volatile("in %%dx, %%al" : : "d"(port) : "rax", "memory");
  CHECK_EQ(hits.causes, 8);
}

void with_a_single_step() {
  forget();
  asm volatile("pushf\n orl $0x100, (%%rsp)\n popf\n out %%al, %%dx\n"
               :
               : "d"(port), "a"(0L)
               : "memory", "cc");
  CHECK_EQ(hits.count, 1);
  CHECK_EQ(hits.causes, 8 | single_step);
}

/// One #DB for each element.
void strings() {
  static const char three[] = "abc";
  forget();
  u64 at, left = 3;
  const char* from = three;
  asm volatile("lea 1f(%%rip), %0\n1: rep outsb\n nop"
               : "=&r"(at), "+S"(from), "+c"(left)
               : "d"(port)
               : "memory");
  CHECK_EQ(hits.count, 3);
  CHECK_EQ(hits.last.rip, at + 2);
  CHECK_EQ(left, 0);
  CHECK_EQ(word(from), word(three) + 3);
}

/// DR4 and DR5 are other names of DR6 and DR7, but not with CR4.DE.
void aliases() {
  FAULTING("mov %%dr4, %%rax", "i"(0));
  CHECK_EQ(caught.vector, 6);
  CHECK_EQ(get_register(4), -19);
  CHECK_EQ(set_register(5, 0), -19);
  set_cr4(0);
  CHECK_EQ(get_register(4), get_register(6));
  CHECK_EQ(get_register(5), get_register(7));
  u64 value;
  asm volatile("mov %%dr5, %0" : "=r"(value));
  CHECK_EQ(value, get_register(7));
  CHECK_EQ(set_register(5, 0), 0);
  CHECK_EQ(get_register(7), dr7_initial);
}

}  // namespace

void test() {
  install_traps();
  on_trap = note;
  physdev_set_iopl iopl{1};
  CHECK_EQ(hypercall(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &iopl), 0);
  with_and_without_debugging_extensions();
  lengths();
  with_a_single_step();
  strings();
  aliases();
}
