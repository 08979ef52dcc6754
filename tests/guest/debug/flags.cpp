// CR4 and RFLAGS: each bit that a kernel sets acts, is kept or is lost as on Xen, on every way out of the
// guest and back (docs/flags.md).
#include "debug/registers.hpp"
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
extern char flags_entry[], kit_stack_top[];
std::uint64_t flags_at_entry, flags_in_frame;
}

// A handler that notes the flags that it is entered with and those of its frame, and returns.
asm(".text\n.balign 16\nflags_entry:\n"
    "pushf\n popq flags_at_entry(%rip)\n"
    "pop %rcx\n pop %r11\n"
    "push %rax\n mov 24(%rsp), %rax\n mov %rax, flags_in_frame(%rip)\n pop %rax\n"
    "push $0\n push %rcx\n push %r11\n push %rax\n mov $23, %eax\n syscall\n ud2\n");

namespace {

constexpr u64 tf = 1 << 8, if_ = 1 << 9, fixed = 2;
constexpr u64 arithmetic = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 11;
constexpr u64 df = 1 << 10, nt = 1 << 14, ac = 1 << 18, id = 1 << 21;
constexpr u64 kept = arithmetic | df | nt | ac | id;
/// VIF and VIP: what an IRETQ at CPL0 makes of them is the processor's business.
constexpr u64 untested = tf | 1 << 19 | 1 << 20;

/// Sets flags, does something in between, and reads them back. All registers of a hypercall that does nothing
/// are set.
#define AROUND(does)                                                                             \
  ([](u64 flags) {                                                                               \
    u64 got;                                                                                     \
    asm volatile("mov $28, %%eax\n mov $77, %%edi\n push %1\n popf\n" does                       \
                 "\n pushf\n pop %0\n push $2\n popf"                                            \
                 : "=&r"(got)                                                                    \
                 : "r"(flags)                                                                    \
                 : "rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "rcx", "r11", "memory", "cc"); \
    return got;                                                                                  \
  })

u64 by_iret(u64 want) {
  u64 got;
  asm volatile(
      "mov %%rsp, %%rbx\n push $0xe02b\n push %%rbx\n push %1\n push $0xe030\n lea 1f(%%rip), %%rax\n push "
      "%%rax\n"
      "push $0\n push $0\n push $0\n push $0\n mov $23, %%eax\n syscall\n ud2\n"
      "1: pushf\n pop %0\n push $2\n popf"
      : "=&r"(got)
      : "r"(want)
      : "rax", "rbx", "rcx", "r11", "memory", "cc");
  return got;
}

/// Where the host runs guests without VT-x or SVM, NT is its own, and what it does with it is not the
/// monitor's business.
u64 tested() { return asked_for("maybe") ? ~(untested | nt) : ~untested; }

void check_bit(u64 bit) {
  const u64 want = bit | if_ | fixed;
  const u64 wanted = (bit & kept) | if_ | fixed;
  CHECK_EQ(AROUND("")(want), wanted);
  CHECK_EQ(AROUND("syscall")(want), wanted);  // a hypercall that leaves the VM
  CHECK_EQ(AROUND("int3")(want), wanted);
  CHECK_EQ(flags_in_frame & ~if_, wanted & ~if_);
  CHECK_EQ(flags_at_entry, wanted & ~(nt | ac));
  CHECK_EQ(by_iret(want), wanted);
  // These change arithmetic flags themselves.
  CHECK_EQ(AROUND("mov $17, %%eax\n xor %%edi, %%edi\n syscall")(want) & ~arithmetic, wanted & ~arithmetic);
  CHECK_EQ(AROUND("clts")(want), wanted);  // emulated
}

void all_flags() {
  for (u64 n = 0; n < 32; ++n)
    if ((1UL << n & tested()) != 0) check_bit(1UL << n);
}

// -- CR4
constexpr u64 tsd = 1 << 2, de = 1 << 3, fsgsbase = 1 << 16, osxsave = 1 << 18;
constexpr u64 shown = 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10;  // PAE, MCE, OSFXSR, OSXMMEXCPT

u64 cr4() {
  u64 value;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}
void set_cr4(u64 value) { asm volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }

/// Bits that are the guest's are kept, those that are Xen's show what Xen has, and no write faults.
void control_register() {
  const u64 before = cr4();
  CHECK_EQ(before & shown, shown);
  for (u64 n = 0; n < 64; ++n) {
    const u64 bit = 1UL << n;
    set_cr4(bit);
    // FSGSBASE is kept where it is offered.
    CHECK_EQ(cr4() & ~fsgsbase, shown | (bit & (tsd | de | osxsave)));
  }
  set_cr4(before);
  CHECK_EQ(cr4(), before);
}

u64 faults = 0;
void user_code() { asm volatile("rdtsc\n syscall\n ud2" : : : "rax", "rdx", "rcx", "r11"); }

void on_any(Frame& frame) {
  if (frame.vector == 13) {  // RDTSC of the program
    ++faults;
    CHECK_EQ(cr4() & tsd, tsd);
    set_cr4(cr4() & ~tsd);
    return;
  }
  CHECK_EQ(frame.vector, syscall_vector);
  if (!asked_for("maybe")) CHECK_EQ(faults, 1);
  finish();
}

/// CR4.TSD keeps programs from the TSC, and not the kernel.
[[noreturn]] void time_stamp_disable() {
  set_cr4(cr4() | tsd);
  const u64 first = __builtin_ia32_rdtsc();
  CHECK(__builtin_ia32_rdtsc() > first);
  on_trap = on_any;
  load_user_root();
  take_syscalls();
  enter_user(user_code, new_page(), reinterpret_cast<Page*>(word(kit_stack_top) - 4 * page_size));
}

}  // namespace

void test() {
  install_traps();
  static trap_info_t table[2];
  table[0] = {3, 0, FLAT_KERNEL_CS, word(flags_entry)};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
  all_flags();
  control_register();
  time_stamp_disable();
}
