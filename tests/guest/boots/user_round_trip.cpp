// The kernel enters user mode, gets its system calls and faults, and returns to the next instruction.
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 after_call[4];
void user_code();
extern char behind_first_call[], faulting_store[];
}

asm(R"(
user_code:
        mov $0x11, %eax
        mov $0x22, %edi
        mov $0x33, %r12d
        std
        syscall
behind_first_call:
        mov %rax, after_call(%rip)
        mov %r12, after_call+8(%rip)
        pushf
        pop after_call+16(%rip)
        cld
faulting_store:
        movq $1, 0x123000
        mov $0x44, %eax
        syscall
        ud2
)");

namespace {

Page* user_stack;
Page* kernel_stack;
int step = 0;

bool on(const Page* stack, u64 address) { return address > word(stack) && address <= word(stack + 1); }

void first_call(Frame& frame) {
  CHECK_EQ(frame.vector, syscall_vector);
  CHECK(on(kernel_stack, word(&frame)));
  CHECK_EQ(frame.rax, 0x11);
  CHECK_EQ(frame.rdi, 0x22);
  CHECK_EQ(frame.r12, 0x33);
  CHECK_EQ(frame.rip, word(behind_first_call));
  CHECK_EQ(frame.cs & 0xffff, 0xe033);
  CHECK_EQ(frame.rsp, word(user_stack + 1));
  CHECK_EQ(frame.rflags & 0x600, 0x600);
  frame.rax = 0x55;
}

void page_fault(Frame& frame) {
  CHECK_EQ(frame.vector, 14);
  CHECK_EQ(frame.error, 6);  // a write by user code to a page that is not present
  CHECK_EQ(cr2(), 0x123000);
  CHECK_EQ(frame.rip, word(faulting_store));
  CHECK_EQ(frame.cs & 3, 3);
  CHECK(on(kernel_stack, word(&frame)));
  CHECK_EQ(after_call[0], 0x55);
  CHECK_EQ(after_call[1], 0x33);
  CHECK_EQ(after_call[2] & 0x400, 0x400);
  frame.rip += 12;
}

void step_by_step(Frame& frame) {
  switch (++step) {
    case 1: return first_call(frame);
    case 2: return page_fault(frame);
    case 3:
      CHECK_EQ(frame.vector, syscall_vector);
      CHECK_EQ(frame.rax, 0x44);
      finish();
    default: finish();
  }
}

}  // namespace

void test() {
  install_traps();
  cr2();
  on_trap = step_by_step;
  user_stack = new_page();
  kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  enter_user(user_code, user_stack, kernel_stack);
}
