// A guest for a debugger: kernel code, a hypercall and user code to stop at, and a counter that the debugger
// changes. Without a debugger the last check fails.
#include <xen/version.h>

#include "kit/kit.hpp"
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
volatile u64 counter = 0;
void user_code();

[[gnu::noinline, gnu::noclone]] void marker(u64 n) { counter = counter + n; }
}

asm(R"(
        .globl user_code, user_marker
        .type user_code, @function
        .type user_marker, @function
user_code:
        mov $0x77, %ebx
user_marker:
        inc %ebx
        inc %ebx
        mov $0x11, %eax
        syscall
        ud2
)");

namespace {

void on_syscall(Frame& frame) {
  CHECK_EQ(frame.vector, syscall_vector);
  CHECK_EQ(frame.rbx, 0x79);
  CHECK_EQ(counter, 1006);  // 1 + 2 + 3, and the debugger's thousand
  finish();
}

}  // namespace

void test() {
  install_traps();
  for (u64 n = 1; n <= 3; ++n) {
    marker(n);
    CHECK(hypercall(__HYPERVISOR_xen_version, XENVER_version, nullptr) > 0);
  }
  // The guest can't see the debugger's breakpoint, and gets its own ones.
  FAULTING("int3", );
  CHECK_EQ(caught.vector, 3);
  on_trap = on_syscall;
  Page* user_stack = new_page();
  Page* kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  enter_user(user_code, user_stack, kernel_stack);
}
