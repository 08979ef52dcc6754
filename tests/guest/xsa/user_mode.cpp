// Advisories about what user mode can do to its kernel and to the hypervisor: system calls without a
// registered handler (XSA-8), SYSENTER with NT set (XSA-44, 339), the kernel's software interrupts (XSA-106,
// 259), the hypervisor's range, and a system call as the last instruction of the lower half (XSA-7).
#include <xen/callback.h>

#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
void user_attacks();
extern char at_syscall[], at_sysenter[], at_int80[], at_int_kernel[], at_int_user[], behind_int_user[],
    at_load[];
}

asm(R"(
user_attacks:
        mov $29, %eax
at_syscall:
        syscall
        pushf
        orq $0x4000, (%rsp)
        popf
at_sysenter:
        sysenter
        pushf
        andq $~0x4000, (%rsp)
        popf
at_int80:
        int $0x80
at_int_kernel:
        int $0x91
at_int_user:
        int $0x92
behind_int_user:
        movabs $0xffff804000000000, %rax
at_load:
        mov (%rax), %rax
        ud2
)");

namespace {

int step = 0;

void next(Frame& frame) {
  CHECK_EQ(frame.cs & 3, 3);
  switch (++step) {
    case 1:
      CHECK_EQ(frame.vector, 6);  // without a handler the system call is an invalid instruction
      CHECK_EQ(frame.rip, word(at_syscall));
      CHECK_EQ(frame.rflags & 0x200, 0x200);
      frame.rip += 2;
      return;
    case 2:
      CHECK(frame.vector == 6 || frame.vector == 13);
      CHECK(frame.vector == 6 || frame.error == 0);
      CHECK_EQ(frame.rip, word(at_sysenter));
      frame.rip += 2;
      return;
    case 3:
      CHECK_EQ(frame.vector, 13);
      CHECK_EQ(frame.error, 0x402);
      CHECK_EQ(frame.rip, word(at_int80));
      frame.rip += 2;
      return;
    case 4:
      CHECK_EQ(frame.vector, 13);  // the handler is not for user mode
      if (!is_dom0()) CHECK_EQ(frame.error, 0x91 << 3 | 2);
      CHECK_EQ(frame.rip, word(at_int_kernel));
      frame.rip += 2;
      return;
    case 5:
      if (is_dom0()) finish();  // QEMU's emulation of the processor reports another vector
      CHECK_EQ(frame.vector, event_vector);
      CHECK_EQ(frame.rip, word(behind_int_user));
      return;
    case 6:
      CHECK_EQ(frame.vector, 14);
      CHECK_EQ(frame.rip, word(at_load));
      CHECK_EQ(cr2(), 0xffff804000000000);
      CHECK_EQ(frame.error & 4, 4);
      finish();
    default: finish();
  }
}

}  // namespace

void test() {
  install_traps();
  cr2();
  on_trap = next;
  static trap_info_t table[3];
  table[0] = {0x91, 1, FLAT_KERNEL_CS, word(kit_event_entry)};
  table[1] = {0x92, 3, FLAT_KERNEL_CS, word(kit_event_entry)};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
  load_user_root();
  enter_user(user_attacks, new_page(), new_page());
}
