// A program jumps to the entry that SYSCALL has on hosts where it stays at CPL3. With registers that
// SYSCALL can't have set, this is no system call. With registers that it can have set, it is one, as if the
// program had executed SYSCALL.
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" u64 forged_rcx, forged_r11;
u64 forged_rcx = 0, forged_r11 = 0;

// The flags of the jump are in RAX; forged_r11 is added to them.
asm(R"(
forges:
        mov forged_rcx(%rip), %rcx
        mov $0xffff810000000000, %rdx
        test %esp, %esp
        pushf
        pop %rax
        mov %rax, %r11
        xor forged_r11(%rip), %r11
        push %rax
        popf
        jmp *%rdx
forges_behind:
        ud2
)");
extern "C" void forges();
extern "C" void forges_behind();

namespace {

constexpr u64 zero_flag = 0x40, carry = 1, io_privilege = 0x3000, virtual_8086 = 0x20000;
struct Forgery {
  u64 rcx;  ///< 0: where the program may go on.
  u64 r11;
  bool may_be_a_call;
};
const Forgery forgeries[] = {
    {0x8000000000000000, 0, false},
    {0xdeadbeefdeadbeef, 0, false},
    {0, carry, false},
    {0, zero_flag, false},
    {0, virtual_8086 | io_privilege | 1UL << 63, true},
    {0, 0, true},
};
constexpr u64 repetitions = 200;
u64 tried = 0, calls = 0;

void forge() {
  const Forgery& next = forgeries[tried % (sizeof forgeries / sizeof *forgeries)];
  forged_rcx = next.rcx != 0 ? next.rcx : word(forges_behind);
  forged_r11 = next.r11;
}

void on_any(Frame& frame) {
  const Forgery& f = forgeries[tried % (sizeof forgeries / sizeof *forgeries)];
  CHECK_EQ(frame.cs & 3, 3);
  if (frame.vector == syscall_vector) {
    ++calls;
    CHECK(f.may_be_a_call);
    CHECK_EQ(frame.rip, word(forges_behind));
    CHECK_EQ(frame.rflags & ~0x254fd7UL, 0);
  } else {
    CHECK(frame.vector == 13 || frame.vector == 14);
    CHECK_EQ(frame.rip, 0xffff810000000000);
  }
  if (++tried == repetitions * 6) {
    say("calls ", static_cast<long>(calls));
    finish();
  }
  forge();
  frame.rip = word(forges);
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_any;
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  forge();
  enter_user(forges, user_stack, kernel_stack);
}
