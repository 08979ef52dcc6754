// MOV SS holds a data breakpoint's #DB back over the next instruction. If that enters the hypervisor, the #DB
// comes there, with the guest's stack pointer if nothing is done about it (XSA-260, CVE-2018-8897). The stack
// pointer names each page of the gate's in turn. Where a processor does not hold the #DB back, the program
// gets it, and the rest is the same.
#include "debug/registers.hpp"
#include "kit/user_mode.hpp"

using namespace kit;
using namespace debug;

extern "C" char kit_stack_top[];

namespace {

u64 stack_selector = FLAT_RING3_SS64;
u64 bad_stack;
u64 round = 0;
/// The gate's pages for vCPU 0, and the IDT of the gate without fast paths (vmm/gate/layout.hpp).
constexpr u64 gates_pages = 0xffff810000200000, plain_idt = 0xffff810000002000;
constexpr u64 own_pages = 40, pages = own_pages + 1;
u64 calls, breakpoints, undefined, faults;

/// The page that the program's stack pointer names in this round.
u64 stack_in_page(u64 n) {
  const u64 page = n < own_pages ? gates_pages + n * page_size : plain_idt;
  return page + 4 * 16;  // in an IDT: over the entries of #DB, NMI and #BP
}

#define HELD_BACK(instruction)                                                                       \
  asm volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n mov %1, %%ss\n" instruction "\n mov %%rbx, %%rsp" \
               :                                                                                     \
               : "m"(bad_stack), "m"(stack_selector), "a"(1L)                                        \
               : "rbx", "rcx", "rdx", "r11", "memory", "cc")

void user_code() {
  for (;;) {
    HELD_BACK("syscall");
    HELD_BACK("int3");
    HELD_BACK("ud2");
    HELD_BACK("hlt");
    HELD_BACK("int $0x80");
    asm volatile("xor %%eax, %%eax\n syscall" : : : "rax", "rcx", "r11", "memory");
  }
}

void on_any(Frame& frame) {
  switch (frame.vector) {
    case db_vector: return;
    case 3: ++breakpoints; return;
    case 6: ++undefined, frame.rip += 2; return;
    case 13: ++faults, frame.rip += frame.error == 0 ? 1 : 2; return;
    case syscall_vector: break;
    default:
      say("FAILED: trap ", static_cast<long>(frame.vector), " at ", hex(frame.rip));
      CHECK(false);
      finish();
  }
  if (frame.rax == 1) {
    ++calls;
    return;
  }
  if (++round < pages) {
    bad_stack = stack_in_page(round);
    return;
  }
  CHECK_EQ(calls, pages);
  CHECK_EQ(breakpoints, pages);
  CHECK_EQ(undefined, pages);
  CHECK_EQ(faults, 2 * pages);
  finish();
}

}  // namespace

void test() {
  install_traps();
  on_trap = note;
  if (!they_act()) finish();  // nothing to hold back
  on_trap = on_any;
  load_user_root();
  take_syscalls();
  Page* user_stack = new_page();
  bad_stack = stack_in_page(0);
  arm(0, word(&stack_selector), on_access, 8);
  enter_user(user_code, user_stack, reinterpret_cast<Page*>(word(kit_stack_top) - 4 * page_size));
}
