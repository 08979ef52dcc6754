// A breakpoint that the gate's or the monitor's own accesses hit is nobody's business: frames are pushed and
// read, vcpu_info is written, the guest goes on and sees no #DB of it (XSA-260).
#include "debug/registers.hpp"
#include "kit/user_mode.hpp"

using namespace kit;
using namespace debug;

extern "C" char kit_stack_top[];

namespace {

u64 others;  ///< Traps that are no #DB.

void on_any(Frame& frame) {
  if (frame.vector == 3 || frame.vector == 6) {
    ++others;
    if (frame.vector == 6) frame.rip += 2;
    return;
  }
  note(frame);
}

/// Watches the whole of what the next exception pushes, four words at a time, and has exceptions delivered
/// there.
template <class Raise>
void frames_on_watched_stack(Raise raise) {
  alignas(64) static u64 stack[2048];
  for (u64 first = 0; first < 8; first += 4) {
    const u64 top = word(stack + 2048);
    for (u64 n = 0; n < 4; ++n) CHECK_EQ(set_register(n, top - 8 * (first + n + 1)), 0);
    u64 all = 0;
    for (u64 n = 0; n < 4; ++n) all |= watch(n, on_write, 8);
    others = 0;
    forget();
    CHECK_EQ(set_register(7, all), 0);
    raise(top);
    disarm();
    CHECK_EQ(others, 1);
    if (first == 0) CHECK_EQ(hits.count, 0);
  }
}

/// The frame's words are written by the gate; what the handler then writes there itself is the guest's own
/// hit. The handler's first instructions pop RCX and R11, and push where they were.
void exceptions() {
  frames_on_watched_stack([](u64 top) {
    asm volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n int3\n mov %%rbx, %%rsp" : : "r"(top) : "rbx", "memory");
  });
  frames_on_watched_stack([](u64 top) {
    asm volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n ud2\n mov %%rbx, %%rsp" : : "r"(top) : "rbx", "memory");
  });
}

/// Each word of an iret's frame is read; reading is watched, too.
void iret_frames() {
  for (u64 first = 0; first < 9; ++first) {
    alignas(64) static u64 frame[9];
    for (u64 n = 0; n < 4; ++n) CHECK_EQ(set_register(n, word(frame + (first + n) % 9)), 0);
    u64 all = 0;
    for (u64 n = 0; n < 4; ++n) all |= watch(n, on_access, 8);
    forget();
    u64 armed = all;
    asm volatile(
        "mov %%rsp, %%rbx\n"
        "lea 1f(%%rip), %%rax\n mov %%rax, 32(%1)\n"
        "movq $0xe030, 40(%1)\n movq $0x202, 48(%1)\n mov %%rsp, 56(%1)\n movq $0xe02b, 64(%1)\n"
        "movq $0, 24(%1)\n"
        "mov $7, %%edi\n mov %0, %%rsi\n mov %2, %%eax\n syscall\n"  // set_debugreg(7, armed)
        "mov %1, %%rsp\n mov $23, %%eax\n syscall\n ud2\n"
        "1: mov %%rbx, %%rsp"
        :
        : "r"(armed), "r"(frame), "i"(__HYPERVISOR_set_debugreg)
        : "rax", "rbx", "rcx", "rdi", "rsi", "r11", "memory", "cc");
    disarm();
    CHECK_EQ(hits.count, 0);
  }
}

/// Structures that the monitor copies for hypercalls.
void arguments() {
  alignas(8) static mmu_update_t request;
  arm(0, word(&request), on_access, 8);
  forget();
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 0, 0, DOMID_SELF), 0);
  alignas(8) static u64 done = 0;
  CHECK_EQ(set_register(1, word(&done)), 0);
  CHECK_EQ(set_register(7, watch(1, on_access, 8)), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 0, &done, DOMID_SELF), 0);
  CHECK_EQ(hits.count, 0);
  disarm();
}

/// vcpu_info's mask, which the gate writes at each entry of a handler that masks events, and pending flag.
void shared_words() {
  volatile auto& vcpu = shared()->vcpu_info[0];
  vcpu.evtchn_upcall_mask = 1;
  arm(2, word(&vcpu.evtchn_upcall_pending), on_access, 2);
  forget();
  others = 0;
  asm volatile("int3\n ud2" : : : "memory");
  CHECK_EQ(others, 2);
  CHECK_EQ(hits.count, 0);
  disarm();
}

// -- system calls of a program, on a watched kernel stack
Page* kernel_stack;
void user_code() {
  asm volatile(
      "mov $100, %%ebx\n1: xor %%eax, %%eax\n syscall\n dec %%ebx\n jnz 1b\n mov $1, %%eax\n syscall\n ud2"
      :
      :
      : "rax", "rbx", "rcx", "r11");
}

void on_syscall_trap(Frame& frame) {
  if (frame.vector != syscall_vector) return note(frame);
  if (frame.rax == 0) {
    ++others;
    return;
  }
  disarm();
  CHECK_EQ(others, 100);
  finish();
}

[[noreturn]] void system_calls() {
  load_user_root();
  take_syscalls();
  Page* user_stack = new_page();
  kernel_stack = reinterpret_cast<Page*>(word(kit_stack_top) - 4 * page_size);
  on_trap = on_syscall_trap;
  others = 0;
  const u64 top = word(kernel_stack + 1);
  for (u64 n = 0; n < 4; ++n) CHECK_EQ(set_register(n, top - 8 * (n + 1)), 0);
  u64 all = 0;
  for (u64 n = 0; n < 4; ++n) all |= watch(n, on_write, 8);
  CHECK_EQ(set_register(7, all), 0);
  enter_user(user_code, user_stack, kernel_stack);
}

}  // namespace

void test() {
  install_traps(4);
  on_trap = on_any;
  CHECK_EQ(cr2(), cr2());  // maps shared_info
  exceptions();
  iret_frames();
  arguments();
  shared_words();
  system_calls();
}
