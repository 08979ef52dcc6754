// Exceptions of the guest kernel arrive in its handlers, with the ABI's frame, error code and CR2.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 interrupt_flag = 0x200, trap_flag = 0x100;
Frame seen;
u64 traps = 0;
u64 skip = 0;

void note(Frame& frame) {
  seen = frame;
  ++traps;
  frame.rip += skip;
  frame.rflags &= ~trap_flag;
}

/// Each register has a value of its own at the UD2, and must still have it afterwards.
void ud2_with_known_registers() {
  skip = 2;
  u64 same = 0;
  asm volatile(
      "push %%rbp\n mov $0x1111, %%ecx\n mov $0x2222, %%edx\n mov $0x3333, %%esi\n mov $0x4444, %%edi\n"
      "mov $0x5555, %%r8d\n mov $0x6666, %%r9d\n mov $0x7777, %%r10d\n mov $0x8888, %%r11d\n mov $0x9999, "
      "%%r12d\n"
      "mov $0xaaaa, %%r13d\n mov $0xbbbb, %%r14d\n mov $0xcccc, %%r15d\n mov $0xdddd, %%ebx\n mov $0xeeee, "
      "%%ebp\n"
      "mov $0xffff, %%eax\n stc\n ud2\n"
      "setc %%al\n cmp $0xff01, %%eax\n jne 1f\n cmp $0x1111, %%rcx\n jne 1f\n cmp $0x2222, %%rdx\n jne 1f\n"
      "cmp $0x3333, %%rsi\n jne 1f\n cmp $0x4444, %%rdi\n jne 1f\n cmp $0x5555, %%r8\n jne 1f\n"
      "cmp $0x6666, %%r9\n jne 1f\n cmp $0x7777, %%r10\n jne 1f\n cmp $0x8888, %%r11\n jne 1f\n"
      "cmp $0x9999, %%r12\n jne 1f\n cmp $0xaaaa, %%r13\n jne 1f\n cmp $0xbbbb, %%r14\n jne 1f\n"
      "cmp $0xcccc, %%r15\n jne 1f\n cmp $0xdddd, %%rbx\n jne 1f\n cmp $0xeeee, %%rbp\n jne 1f\n"
      "mov $1, %%eax\n jmp 2f\n 1: xor %%eax, %%eax\n 2: pop %%rbp\n"
      : "=&a"(same)
      :
      : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
        "memory");
  CHECK_EQ(same, 1);
  CHECK_EQ(seen.vector, 6);
  CHECK_EQ(seen.rcx, 0x1111);
  CHECK_EQ(seen.r11, 0x8888);
  CHECK_EQ(seen.rax, 0xffff);
  CHECK_EQ(seen.r15, 0xcccc);
  CHECK_EQ(seen.rflags & 1, 1);
}

void selectors_and_mask() {
  CHECK_EQ(seen.cs & 0xffff, FLAT_KERNEL_CS & ~3);  // RPL 0: the kernel was interrupted
  CHECK_EQ(seen.ss, FLAT_KERNEL_SS);
  CHECK_EQ(seen.cs >> 32, 1);                 // events were masked, since the guest has just begun
  CHECK_EQ(seen.rflags & interrupt_flag, 0);  // which a kernel sees as interrupts off
  auto& mask = shared()->vcpu_info[0].evtchn_upcall_mask;
  mask = 0;
  asm volatile("ud2" ::: "memory");
  CHECK_EQ(seen.cs >> 32, 0);
  CHECK_EQ(seen.rflags & interrupt_flag, interrupt_flag);
  CHECK_EQ(mask, 0);
  mask = 1;
}

void breakpoint() {
  skip = 0;
  u64 behind = 0;
  asm volatile("int3\n 1: lea 1b(%%rip), %0" : "=r"(behind)::"memory");
  CHECK_EQ(seen.vector, 3);
  CHECK_EQ(seen.rip, behind);
}

void page_faults() {
  const u64 nowhere = unmapped_address();
  try_load(nowhere + 8);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 0);
  CHECK_EQ(caught.address, nowhere + 8);
  try_store(nowhere + 16, 1);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 2);
  CHECK_EQ(caught.address, nowhere + 16);
  try_store(info->pt_base, 1);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 3);
  CHECK_EQ(caught.address, info->pt_base);
  try_load(0x1234567000);  // no table there at any level
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.address, 0x1234567000);
}

void protection_faults() {
  try_load(0x8000000000000000);  // not canonical
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.error, 0);
  FAULTING("hlt", "r"(0));
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.error, 0);
  FAULTING("int $0x55", "r"(0));  // no gate of the guest's: the error code names the vector
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.error, 0x55 << 3 | 2);
}

void division() {
  static u64 zero = 0;
  FAULTING("divq %0", "m"(zero));
  CHECK_EQ(caught.vector, 0);
}

void single_step() {
  skip = 0;
  traps = 0;
  asm volatile("pushf\n orl $0x100, (%%rsp)\n popf\n nop\n nop" ::: "memory", "cc");
  CHECK_EQ(traps, 1);
  CHECK_EQ(seen.vector, 1);
}

}  // namespace

void test() {
  install_traps();
  on_trap = note;
  CHECK_EQ(cr2(), cr2());  // maps shared_info before anything counts on it
  ud2_with_known_registers();
  selectors_and_mask();
  breakpoint();
  page_faults();
  protection_faults();
  division();
  single_step();
}
