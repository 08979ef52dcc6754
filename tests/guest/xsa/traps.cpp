// Advisories about entries and exits of the kernel: software interrupts, debug
// registers, segment bases, MSRs.
#include <xen/callback.h>
#include <xen/nmi.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr long enodev = -19;

void wrmsr(u32 index, u64 value) {
  FAULTING("mov %2, %%eax\n wrmsr", "c"(index), "d"(static_cast<u32>(value >> 32)),
           "r"(static_cast<u32>(value)));
}
void rdmsr(u32 index) { FAULTING("rdmsr", "c"(index), "d"(0)); }

/// XSA-106, 259: a vector without a handler, or with one that user mode may not use.
void software_interrupts() {
  FAULTING("int $0x80", "i"(0));
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.error, 0x402);
  FAULTING("int $0x81", "i"(0));
  if (!is_dom0()) CHECK_EQ(caught.error, 0x81 << 3 | 2);  // QEMU's emulation of the processor has another
  static trap_info_t table[2];
  table[0] = {0x82, 0, FLAT_KERNEL_CS, word(kit_event_entry)};  // DPL 0: not even the guest's kernel
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
  FAULTING("int $0x82", "i"(0));
  CHECK_EQ(caught.vector, 13);
  if (!is_dom0()) CHECK_EQ(caught.error, 0x82 << 3 | 2);
}

/// XSA-12, 444: reserved bits, and breakpoints in the hypervisor's memory.
void debug_registers() {
  for (u64 n = 0; n < 4; ++n) {
    for (u64 address :
         {0xffff800000000000UL, 0xffff804000000000UL, 0xffff87ffffffffffUL, 0x8000000000000000UL})
      CHECK_EQ(hypercall(__HYPERVISOR_set_debugreg, n, address), eperm);
    CHECK_EQ(hypercall(__HYPERVISOR_get_debugreg, n), 0);
  }
  CHECK_EQ(hypercall(__HYPERVISOR_set_debugreg, 7, 1UL << 13), eperm);  // general detect
  for (u64 bit = 32; bit < 64; ++bit)
    for (u64 n : {6UL, 7UL}) CHECK_EQ(hypercall(__HYPERVISOR_set_debugreg, n, 1UL << bit), einval);
  CHECK_EQ(hypercall(__HYPERVISOR_set_debugreg, 7, 0x00020001UL), eperm);  // an I/O breakpoint
  for (u64 n : {8UL, 9UL, 0xffffffffUL, ~0UL}) CHECK_EQ(hypercall(__HYPERVISOR_set_debugreg, n, 0), enodev);
  CHECK_EQ(hypercall(__HYPERVISOR_set_debugreg, 7, 0), 0);
}

/// XSA-193: bases that are not canonical, by MSR and by hypercall. XSA-333: MSRs that do not exist.
void segment_bases_and_msrs() {
  for (u32 index : {0xc0000100U, 0xc0000101U, 0xc0000102U}) {
    for (u64 base : {0x8000000000000000UL, 0x0000800000000000UL, 0xffff7fffffffffffUL}) {
      wrmsr(index, base);
      CHECK_EQ(caught.vector, 13);
      CHECK_EQ(caught.error, 0);
    }
  }
  for (u64 which : {u64{SEGBASE_FS}, u64{SEGBASE_GS_USER}, u64{SEGBASE_GS_KERNEL}})
    for (u64 base : {0x8000000000000000UL, 0x0000800000000000UL})
      CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, which, base), einval);
  for (u64 selector : {0UL, 4UL, 0xfffcUL, 0xffffUL, 0xe000UL, ~0UL})  // a bad one becomes the null selector
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, selector), 0);
  for (u32 index : {0x12345678U, 0xffffffffU, 0x4fffffffU}) {
    rdmsr(index);
    CHECK_EQ(caught.vector, 13);
    wrmsr(index, 0);
    CHECK_EQ(caught.vector, 13);
  }
}

/// XSA-54: invalid values of extended control registers.
void extended_control_register() {
  for (u64 value : {0UL, 2UL, 4UL, 1UL << 63 | 3, ~0UL}) {
    FAULTING("mov %1, %%eax\n xsetbv", "c"(0), "r"(static_cast<u32>(value)),
             "d"(static_cast<u32>(value >> 32)));
    CHECK(caught.vector == 13 || caught.vector == 6);
  }
}

/// XSA-202: a guest that clears its interrupt flag, by POPF or iret, is still interrupted by its timer.
u64 flags() {
  u64 value;
  asm volatile("pushf\n pop %0" : "=r"(value));
  return value;
}
void interrupt_flag() {
  asm volatile("pushf\n andq $~0x200, (%%rsp)\n popf" ::: "memory", "cc");
  CHECK_EQ(flags() & 0x200, 0x200);
  CHECK_EQ(flags() >> 12 & 3, 0);
  for (u64 wanted : {0x2UL, 0x3002UL, 0x202UL}) {
    asm volatile(
        "mov %%rsp, %%rbx\n push %1\n push %%rbx\n push %0\n push $0xe030\n lea 1f(%%rip), %%rax\n push "
        "%%rax\n"
        "push $0\n push $0\n push $0\n push $0\n mov $23, %%eax\n syscall\n 1:"
        :
        : "r"(wanted), "r"(u64{FLAT_KERNEL_SS})
        : "rax", "rbx", "rcx", "r11", "memory", "cc");
    CHECK_EQ(flags() & 0x200, 0x200);
    CHECK_EQ(flags() >> 12 & 3, 0);
  }
}

/// XSA-7: an iret to an address that no SYSRET may return to.
void not_canonical_return() {
  caught = Caught{};
  asm volatile(
      "lea 8f(%%rip), %%rax\n mov %%rax, kit_recovery(%%rip)\n mov %%rsp, %%rbx\n"
      "push %0\n push %%rbx\n push $0x202\n push $0xe030\n push %1\n push $0x100\n push $0\n push $0\n push "
      "$0\n"
      "mov $23, %%eax\n syscall\n ud2\n8: movq $0, kit_recovery(%%rip)"
      :
      : "r"(u64{FLAT_KERNEL_SS}), "r"(0x0000800000000000UL)
      : "rax", "rbx", "rcx", "r11", "memory", "cc");
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.rip, 0x0000800000000000);
}

/// Invalid addresses of handlers.
void handlers() {
  for (u64 address : {0x0000800000000000UL, 0x8000000000000000UL, 0xffff7fffffffffffUL}) {
    static trap_info_t table[2];
    table[0] = {14, 0, FLAT_KERNEL_CS, address};
    CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), einval);
    callback_register callback{};
    callback.address = address;
    for (u16 type = 0; type < 10; ++type) {
      callback.type = type;
      const long got = hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback);
      CHECK(got == einval || got == enosys);
    }
    CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, address, address, address), 0);  // ignored
    xennmi_callback nmi{address, 0};
    CHECK_EQ(hypercall(__HYPERVISOR_nmi_op, XENNMI_register_callback, &nmi), einval);
  }
  try_load(unmapped_address());
  CHECK_EQ(caught.vector, 14);  // by the handler that was there before
}

}  // namespace

void test() {
  install_traps();
  cr2();
  software_interrupts();
  debug_registers();
  segment_bases_and_msrs();
  extended_control_register();
  interrupt_flag();
  not_canonical_return();
  handlers();
}
