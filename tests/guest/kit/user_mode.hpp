// A user root, and how to enter user mode.
#pragma once

#include <xen/callback.h>

#include "kit/kit.hpp"

namespace kit {

/// Makes a second L4 with the kernel's own mappings, and pins and loads it as the user root. User mode can
/// then execute and write all pages, because Xen's rules make all of them accessible to CPL3.
inline u64 load_user_root() {
  Page* root = new_page();
  const auto* kernel_root = reinterpret_cast<const Page*>(info->pt_base);
  root->words[511] = kernel_root->words[511];
  CHECK_EQ(make_read_only(root), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(root)), 0);
  CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, mfn_of(root)), 0);
  return mfn_of(root);
}

/// From now on a SYSCALL of user code is given to on_trap.
inline void take_syscalls() {
  callback_register syscall{};
  syscall.type = CALLBACKTYPE_syscall;
  syscall.address = word(kit_syscall_entry);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &syscall), 0);
}

/// Enters user mode and does not return. Traps and system calls arrive on `kernel_stack`.
[[noreturn]] inline void enter_user(void (*code)(), Page* user_stack, Page* kernel_stack) {
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, kernel_stack + 1), 0);
  asm volatile(
      "push %2\n push %1\n push $0x202\n push $0xe033\n push %0\n push $0\n push $0\n push $0\n push $0\n"
      "mov $23, %%eax\n syscall\n ud2"
      :
      : "r"(code), "r"(user_stack + 1), "r"(u64{FLAT_KERNEL_SS})
      : "memory");
  __builtin_unreachable();
}

}  // namespace kit
