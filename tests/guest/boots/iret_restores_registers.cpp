// HYPERVISOR_iret gives every register, the flags and the event mask the values that its frame says.
#include "kit/kit.hpp"

using namespace kit;

extern "C" {
u64 landed[17];  // RAX to R15 in the order below, then RFLAGS
u64 stack_before, stack_behind;
void return_with(u64 rflags, u64 in_syscall);
}

// Builds struct iret_context (xen/arch-x86/xen-x86_64.h) and goes to `landing` with it.
asm(R"(
return_with:
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, stack_before(%rip)
        sub $256, %rsp
        push $0xe02b
        push stack_before(%rip)
        push %rdi
        push $0xe030
        push $landing
        push %rsi
        push $0x1cc
        push $0x111
        push $0xaaa
        mov $0x3d3, %edx
        mov $0x4b4, %ebx
        mov $0x515, %esi
        mov $0x6d6, %edi
        mov $0x7b7, %ebp
        mov $0x808, %r8d
        mov $0x909, %r9d
        mov $0xa0a, %r10d
        mov $0xc0c, %r12d
        mov $0xd0d, %r13d
        mov $0xe0e, %r14d
        mov $0xf0f, %r15d
        mov $23, %eax
        syscall
        ud2
landing:
        mov %rax, landed(%rip)
        mov %rcx, landed+8(%rip)
        mov %rdx, landed+16(%rip)
        mov %rbx, landed+24(%rip)
        mov %rsp, stack_behind(%rip)
        mov %rsi, landed+32(%rip)
        mov %rdi, landed+40(%rip)
        mov %rbp, landed+48(%rip)
        mov %r8, landed+56(%rip)
        mov %r9, landed+64(%rip)
        mov %r10, landed+72(%rip)
        mov %r11, landed+80(%rip)
        mov %r12, landed+88(%rip)
        mov %r13, landed+96(%rip)
        mov %r14, landed+104(%rip)
        mov %r15, landed+112(%rip)
        pushf
        pop landed+120(%rip)
        cld
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret
)");

namespace {

constexpr u64 arithmetic = 0x8d5, direction = 0x400, interrupts = 0x200, in_syscall = 0x100;

void check_registers(u64 rcx, u64 r11) {
  const u64 expected[] = {0xaaa, rcx,   0x3d3, 0x4b4, 0x515, 0x6d6, 0x7b7, 0x808,
                          0x909, 0xa0a, r11,   0xc0c, 0xd0d, 0xe0e, 0xf0f};
  for (u64 i = 0; i < sizeof expected / sizeof *expected; ++i) CHECK_EQ(landed[i], expected[i]);
  CHECK_EQ(stack_behind, stack_before);
}

}  // namespace

void test() {
  auto& mask = shared()->vcpu_info[0].evtchn_upcall_mask;

  return_with(arithmetic | direction | 2, 0);
  check_registers(0x1cc, 0x111);
  CHECK_EQ(landed[15] & (arithmetic | direction), arithmetic | direction);
  CHECK_EQ(mask, 1);

  return_with(2 | interrupts, 0);
  check_registers(0x1cc, 0x111);
  CHECK_EQ(landed[15] & (arithmetic | direction), 0);
  CHECK_EQ(mask, 0);

  // From a system call: RCX and R11 are what SYSRET makes of them, not the frame's.
  return_with(2, in_syscall);
  CHECK(landed[1] != 0x1cc);
  CHECK(landed[10] != 0x111);
  CHECK_EQ(landed[0], 0xaaa);
  CHECK_EQ(landed[14], 0xf0f);
  CHECK_EQ(mask, 1);
}
