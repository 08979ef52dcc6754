// Segment bases: by the instructions of FSGSBASE, by the MSRs, by the hypercall, and across the guest's
// modes. The word "fsgsbase" on the command line says that FSGSBASE has to be offered.
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 users_fs = 0, users_gs = 0;  // what the program found
void users_code();
}

// Sets both bases, makes a system call, notes them, makes two more. Its RDMSR faults.
asm(R"(
        .text
users_code:
        mov $0x111000, %eax
        wrfsbase %rax
        mov $0x222000, %eax
        wrgsbase %rax
        syscall
        rdfsbase %rax
        mov %rax, users_fs
        rdgsbase %rax
        mov %rax, users_gs
        int3
        rdgsbase %rax
        cmp users_gs, %rax
        jne .
        mov $0xc0000102, %ecx
        rdmsr
        ud2
)");

namespace {

constexpr u32 fs_base = 0xc0000100, gs_base = 0xc0000101, kernel_gs_base = 0xc0000102;
constexpr u64 cr4_fsgsbase = 1 << 16, tf = 1 << 8;
constexpr u64 bases[]{0, 0x1000, 0x7fffffffffff, 0xffff800000000000, 0xffff888012345678, ~0UL};

u64 cr4() {
  u64 value;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}
void set_cr4(u64 value) { asm volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }

/// Upper halves of registers are not looked at, and those of the result are 0.
u64 rdmsr(u32 number) {
  u64 rax = ~0UL, rdx = ~0UL, rcx = 0xdeadbeef00000000 | number;
  asm volatile("rdmsr" : "+a"(rax), "+d"(rdx), "+c"(rcx));
  CHECK_EQ(rax >> 32, 0);
  CHECK_EQ(rdx >> 32, 0);
  CHECK_EQ(rcx, 0xdeadbeef00000000 | number);
  return rdx << 32 | rax;
}
void wrmsr(u32 number, u64 value) {
  asm volatile("wrmsr"
               :
               : "a"(0x1234567800000000 | (value & 0xffffffff)), "d"(0x8765432100000000 | value >> 32),
                 "c"(0xdeadbeef00000000 | number)
               : "memory");
}
u64 rdfsbase() {
  u64 base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
u64 rdgsbase() {
  u64 base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
void wrfsbase(u64 base) { asm volatile("wrfsbase %0" : : "r"(base)); }
void wrgsbase(u64 base) { asm volatile("wrgsbase %0" : : "r"(base)); }

/// Bit 0 of EBX of CPUID leaf 7, as Xen shows it to kernels.
bool offered() {
  u32 eax = 7, ebx, ecx = 0, edx;
  asm volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e\n cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (ebx & 1) != 0;
}

/// What may go between a write of a base and its read: hypercalls, with an exit and without, exceptions,
/// emulated instructions.
void in_between() {
  CHECK(hypercall(__HYPERVISOR_xen_version, 0, nullptr) > 0);
  CHECK_EQ(hypercall(77), -38);
  asm volatile("int3" ::: "memory");
  CHECK_EQ(cr4() & cr4_fsgsbase, offered() ? cr4_fsgsbase : 0);
}

void by_msr_and_hypercall() {
  for (const u64 base : bases) {
    wrmsr(fs_base, base);
    wrmsr(gs_base, base ^ 0x100);
    wrmsr(kernel_gs_base, base ^ 0x200);
    in_between();
    CHECK_EQ(rdmsr(fs_base), base);
    CHECK_EQ(rdmsr(gs_base), base ^ 0x100);
    CHECK_EQ(rdmsr(kernel_gs_base), base ^ 0x200);
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_FS, base ^ 0x300), 0);
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, base ^ 0x400), 0);
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER, base ^ 0x500), 0);
    in_between();
    CHECK_EQ(rdmsr(fs_base), base ^ 0x300);
    CHECK_EQ(rdmsr(gs_base), base ^ 0x400);
    CHECK_EQ(rdmsr(kernel_gs_base), base ^ 0x500);
  }
  // The bases are the processor's, not only numbers.
  static u64 word = 0x600d;
  u64 got = 0;
  wrmsr(gs_base, reinterpret_cast<u64>(&word));
  asm volatile("mov %%gs:0, %0" : "=r"(got)::"memory");
  CHECK_EQ(got, 0x600d);
}

/// #GP at the instruction, and nothing changes.
void refused_bases() {
  for (const u32 number : {fs_base, gs_base, kernel_gs_base})
    for (const u64 base : {0x0000800000000000UL, 0xffff7fffffffffffUL, 1UL << 63, 1UL << 48}) {
      wrmsr(number, 0x5000);
      FAULTING("mov %2, %%eax\n wrmsr", "c"(number), "d"(base >> 32), "r"(static_cast<u32>(base)));
      CHECK_EQ(caught.vector, 13);
      CHECK_EQ(caught.error, 0);
      CHECK_EQ(rdmsr(number), 0x5000);
    }
}

/// Other encodings and neighbours of these registers give what they give on Xen, too.
void odd_ones() {
  u64 rax = 0, rdx = 0;
  for (const u64 base : {0x1000UL, 0x123456789000UL}) {
    wrmsr(kernel_gs_base, base);
    asm volatile("rex.w rdmsr" : "=a"(rax), "=d"(rdx) : "c"(kernel_gs_base));
    CHECK_EQ(rdx << 32 | rax, base);
  }
  for (const u32 number : {0xc00000ffU, 0xc0000104U, 0x100U, 0x102U}) {
    FAULTING("rdmsr", "c"(number), "d"(0));
    CHECK_EQ(caught.vector, 13);
    FAULTING("xor %%eax, %%eax\n wrmsr", "c"(number), "d"(0));
    CHECK_EQ(caught.vector, 13);
  }
  // Across two pages.
  static Page code[2];
  auto* bytes = reinterpret_cast<u8*>(code);
  bytes[page_size - 1] = 0x0f, bytes[page_size] = 0x32, bytes[page_size + 1] = 0xc3;
  asm volatile("call *%2"
               : "=a"(rax), "=d"(rdx)
               : "r"(bytes + page_size - 1), "c"(kernel_gs_base)
               : "memory");
  CHECK_EQ(rdx << 32 | rax, 0x123456789000);
}

/// #GP of an instruction of one byte, behind which nothing can be read.
void at_the_end_of_what_can_be_read() {
  static Page code[2];
  auto* last = reinterpret_cast<u8*>(code) + page_size - 1;
  *last = 0xf4;  // HLT
  const u64 next = word(code + 1), entry = entry_of(1, next);
  CHECK_EQ(map(next, 0), 0);
  FAULTING("jmp *%0", "r"(last), "c"(kernel_gs_base));
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.error, 0);
  CHECK_EQ(caught.rip, word(last));
  CHECK_EQ(map(next, entry), 0);
}

u64 stepped_to = 0;

/// A single step ends behind the emulated instruction.
void stepped() {
  u64 behind = 0;
  asm volatile("lea 1f(%%rip), %0\n pushf\n orq %1, (%%rsp)\n popf\n rdmsr\n 1: nop"
               : "=&r"(behind)
               : "i"(tf), "c"(kernel_gs_base)
               : "rax", "rdx", "memory", "cc");
  CHECK_EQ(stepped_to, behind);
}

void by_instruction() {
  for (const u64 base : bases) {
    wrfsbase(base);
    wrgsbase(base ^ 0x100);
    wrmsr(kernel_gs_base, base ^ 0x200);
    in_between();
    CHECK_EQ(rdfsbase(), base);
    CHECK_EQ(rdgsbase(), base ^ 0x100);
    CHECK_EQ(rdmsr(fs_base), base);
    CHECK_EQ(rdmsr(gs_base), base ^ 0x100);
    CHECK_EQ(rdmsr(kernel_gs_base), base ^ 0x200);
    wrmsr(fs_base, base ^ 0x300);
    CHECK_EQ(rdfsbase(), base ^ 0x300);
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, base ^ 0x400), 0);
    CHECK_EQ(rdgsbase(), base ^ 0x400);
  }
}

/// The instructions are there while CR4 has the bit, which is clear at first.
void control() {
  CHECK_EQ(cr4() & cr4_fsgsbase, 0);
  for (int i = 0; i < 2; ++i) {
    FAULTING("rdfsbase %%rax", "c"(0));
    CHECK_EQ(caught.vector, 6);
    FAULTING("wrgsbase %%rcx", "c"(0));
    CHECK_EQ(caught.vector, 6);
    set_cr4(cr4() | cr4_fsgsbase);
    CHECK_EQ(cr4() & cr4_fsgsbase, cr4_fsgsbase);
    FAULTING("rdfsbase %%rax\n wrfsbase %%rax", "c"(0));
    CHECK_EQ(caught.vector, Caught::none);
    if (i == 0) set_cr4(cr4() & ~cr4_fsgsbase);
  }
}

/// The exits of thousands of these are counted by the test.
void often() {
  for (u64 i = 0; i < 3000; ++i) {
    wrmsr(kernel_gs_base, i << 12);
    CHECK_EQ(rdmsr(kernel_gs_base), i << 12);
  }
}

constexpr u64 kernels_gs = 0xffff888000001000;
int entries = 0;

/// The program's entries into the kernel: a system call, a breakpoint, and the #GP of its RDMSR.
void on_entry(Frame& frame) {
  if (frame.vector == 1) {
    stepped_to = frame.rip;
    frame.rflags &= ~tf;
    return;
  }
  if (frame.vector == 3 && entries == 0) return;  // the kernel's own
  ++entries;
  CHECK_EQ(rdgsbase(), kernels_gs);
  CHECK_EQ(rdmsr(gs_base), kernels_gs);
  if (entries == 1) {
    CHECK_EQ(frame.vector, syscall_vector);
    CHECK_EQ(rdmsr(kernel_gs_base), 0x222000);
    CHECK_EQ(rdfsbase(), 0x111000);
    wrfsbase(0x333000);
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER, 0x444000), 0);
    return;
  }
  if (entries == 2) {
    CHECK_EQ(frame.vector, 3);
    CHECK_EQ(users_fs, 0x333000);
    CHECK_EQ(users_gs, 0x444000);
    CHECK_EQ(rdmsr(kernel_gs_base), 0x444000);
    return;
  }
  CHECK_EQ(frame.vector, 13);
  CHECK_EQ(frame.error, 0);
  CHECK_EQ(frame.cs & 3, 3);
  finish();
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_entry;
  if (asked_for("fsgsbase")) CHECK(offered());
  if (!offered()) {
    set_cr4(cr4() | cr4_fsgsbase);
    by_msr_and_hypercall();
    refused_bases();
    odd_ones();
    at_the_end_of_what_can_be_read();
    stepped();
    return;
  }
  control();
  by_msr_and_hypercall();
  refused_bases();
  odd_ones();
  at_the_end_of_what_can_be_read();
  stepped();
  by_instruction();
  often();
  wrgsbase(kernels_gs);
  load_user_root();
  take_syscalls();
  enter_user(users_code, new_page(), new_page());
}
