// HYPERVISOR_iret with values that no return may have: flags are masked, and with any selectors the guest
// goes on at CPL3 or gets a #GP instead of the return. The user GS selector is checked in the same way.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

extern "C" {
u64 landed_cs, landed_flags, saved_stack;
void return_to(u64 rip, u64 cs, u64 rflags, u64 ss);
extern char return_target[], return_done[];
}

asm(R"(
return_to:
        push %rbx
        push %rbp
        mov %rsp, saved_stack(%rip)
        sub $256, %rsp
        push %rcx
        push saved_stack(%rip)
        push %rdx
        push %rsi
        push %rdi
        push $0
        push $0
        push $0
        push $0
        mov $23, %eax
        syscall
        ud2
return_target:
        mov %cs, landed_cs(%rip)
        pushf
        pop landed_flags(%rip)
return_done:
        push $2
        popf
        pop %rbp
        pop %rbx
        ret
)");

namespace {

constexpr u64 kernel_cs = 0xe030, kernel_ss = 0xe02b, fixed_flag = 2;
u64 faults = 0, last_vector = 0, last_rip = 0;

void recover(Frame& frame) {
  ++faults;
  last_vector = frame.vector;
  last_rip = frame.rip;
  frame.rip = word(return_done);
  frame.cs = kernel_cs;
  frame.ss = kernel_ss;
  frame.rflags = fixed_flag;
}

void flags() {
  constexpr u64 iopl = 0x3000, vm86 = 0x20000, nested = 0x4000, virtual_interrupts = 0x180000;
  for (u64 odd : {iopl, vm86, nested, virtual_interrupts, 1UL << 3, 1UL << 5, 1UL << 15, 1UL << 22, 1UL << 31,
                  1UL << 32, 1UL << 63, ~(1UL << 8)}) {  // but the trap flag
    faults = landed_cs = 0;
    return_to(word(return_target), kernel_cs, odd | fixed_flag, kernel_ss);
    CHECK_EQ(faults, 0);
    CHECK_EQ(landed_cs & 3, 3);
    CHECK_EQ(landed_flags & (iopl | vm86), 0);
  }
}

void addresses() {
  for (u64 nowhere : {0x8000000000000000UL, 0x0000800000000000UL, 0xffff7fffffffffffUL}) {
    faults = 0;
    return_to(nowhere, kernel_cs, fixed_flag, kernel_ss);
    CHECK_EQ(faults, 1);
    CHECK_EQ(last_vector, 13);
    CHECK_EQ(last_rip, nowhere);
  }
}

/// The monitor's own selectors, LDT entries that do not exist, null selectors.
constexpr u64 selectors[] = {0, 4, 8, 0xe008, 0xe00c, 0xe010, 0xe040, 0xe050, 0xe058, 0x1234, 0xeff8, 0xfff8};

void selectors_of_returns() {
  for (u64 selector : selectors) {
    faults = landed_cs = 0;
    return_to(word(return_target), selector, fixed_flag, kernel_ss);
    CHECK(faults == 1 ? last_vector == 13 && last_rip == word(return_target) : (landed_cs & 3) == 3);
    faults = landed_cs = 0;
    return_to(word(return_target), kernel_cs, fixed_flag, selector);
    CHECK(faults == 1 ? last_vector == 13 && last_rip == word(return_target) : (landed_cs & 3) == 3);
  }
}

u64 at_gs() {
  u64 value;
  asm volatile("mov %%gs:0, %0" : "=r"(value)::"memory");
  return value;
}

void user_gs_by_selector() {
  static u64 kernels_own = 0x600d;
  for (u64 selector : selectors) {
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, &kernels_own), 0);
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, selector), 0);
    CHECK_EQ(at_gs(), 0x600d);
  }
  CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, kernel_ss), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, 4, 0), einval);
}

u64 gs() {
  u64 selector;
  asm volatile("mov %%gs, %k0" : "=r"(selector));
  return selector & 0xffff;
}

/// If the processor does not load a descriptor of the guest's, the null selector is loaded.
void user_gs_by_descriptor() {
  constexpr u64 execute_only = 0x00cff8000000ffff, base = 0x12345UL << 16,
                data_segment = 0x00cff2000000ffff | base, readable_code = 0x00affa000000ffff,
                not_present = data_segment & ~(1UL << 47);
  constexpr u64 descriptors[] = {data_segment, readable_code, execute_only, execute_only | 4UL << 40,
                                 not_present};
  constexpr u64 good = 2;
  Page* table = new_page();
  for (u64 i = 0; i < sizeof descriptors / sizeof *descriptors; ++i) table->words[1 + i] = descriptors[i];
  // The only system descriptor that a guest may have is a call gate that no code can use.
  table->words[6] = 0x0000'8c00'e030'0000 | word(return_target) % 0x10000;
  CHECK_EQ(make_read_only(table), 0);
  u64 frame = mfn_of(table);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, &frame, 512), 0);
  for (u64 i = 1; i < 8; ++i) {
    CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, i * 8), 0);
    // Where KVM uses neither VT-x nor SVM, the processor uses the host's own table, which has no such entry.
    CHECK(gs() == 0 || (i <= good && gs() == i * 8 + 3));
  }
  CHECK_EQ(hypercall(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, 0), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, nullptr, 0), 0);
}

/// A SYSCALL whose next instruction has an address that is not canonical: the kernel gets a fault there.
void system_call_at_the_end_of_the_lower_half() {
  constexpr u64 last_page = 0x00007ffffffff000, end = last_page + page_size,
                flags = present | writable | user;
  Page *l3 = new_page(), *l2 = new_page(), *l1 = new_page(), *code = new_page();
  reinterpret_cast<u8*>(code)[page_size - 2] = 0x0f;
  reinterpret_cast<u8*>(code)[page_size - 1] = 0x05;
  l1->words[511] = mfn_of(code) * page_size | present | user;
  l2->words[511] = mfn_of(l1) * page_size | flags;
  l3->words[511] = mfn_of(l2) * page_size | flags;
  for (Page* page : {l3, l2, l1, code}) CHECK_EQ(make_read_only(page), 0);
  const u64 slot = entry_address(4, last_page);
  CHECK_EQ(set_entry(slot, mfn_of(l3) * page_size | flags), 0);
  caught = Caught{};
  asm volatile(
      "lea 8f(%%rip), %%rax\n mov %%rax, kit_recovery(%%rip)\n mov $29, %%eax\n xor %%edi, %%edi\n jmp *%0\n"
      "8: movq $0, kit_recovery(%%rip)"
      :
      : "r"(end - 2)
      : "rax", "rcx", "rdi", "r11", "memory", "cc");
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.rip, end);
  CHECK_EQ(set_entry(slot, 0), 0);
}

}  // namespace

void test() {
  install_traps();
  on_trap = recover;
  for (auto& word : shared()->evtchn_mask) word = ~0UL;
  shared()->vcpu_info[0].evtchn_upcall_pending = 0;
  flags();
  addresses();
  selectors_of_returns();
  user_gs_by_selector();
  user_gs_by_descriptor();
  system_call_at_the_end_of_the_lower_half();
}
