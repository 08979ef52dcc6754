// The kernel's stack for traps of user mode, or the frame of its iret, is in the
// hypervisor's memory or not mapped.
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" void user_code();
asm("user_code: syscall\n ud2");

namespace {

/// The state page of the first vCPU's gate (vmm/gate/layout.hpp).
constexpr u64 gates_state = 0xffff810000224000, behind_canonical = 0x0000800000000000;

[[noreturn]] void return_from(u64 frame) {
  asm volatile("mov %0, %%rsp\n mov $23, %%eax\n syscall\n ud2" : : "r"(frame) : "memory");
  __builtin_unreachable();
}

}  // namespace

void test() {
  install_traps();
  if (asked_for("iret-there")) return_from(gates_state);
  if (asked_for("iret-nowhere")) return_from(behind_canonical - 16);
  take_syscalls();
  load_user_root();
  const u64 stack = asked_for("nowhere") ? behind_canonical + 8 : gates_state + 512;
  enter_user(user_code, new_page(), reinterpret_cast<Page*>(stack) - 1);
}
