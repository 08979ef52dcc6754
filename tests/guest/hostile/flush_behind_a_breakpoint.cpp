// One vCPU runs code with a byte of INT3 in front of each instruction, and reads a page until its contents
// change. Another one maps a page with other contents there and flushes the first vCPU's translations. Each
// flush ends, and the reader sees the new page.
#include "vcpus/second_vcpu.hpp"

using namespace kit;

// Reads the byte at RSI while it is 0xcc, then adds one to the count at RDI, waits for 0xcc to be
// back, and adds one more.
asm(R"(
        .balign 64
        .byte 0xcc
reads_behind_breakpoints:
        .rept 22
        .byte 0xb0, 0xcc                        # mov $0xcc, %al
        .endr
        .byte 0xc6, 0xc0, 0xcc                  # mov $0xcc, %al
        .byte 0x80, 0x3e, 0xcc                  # cmpb $0xcc, (%rsi)
        .byte 0x74, 0xcc                        # je reads_behind_breakpoints
        lock incq (%rdi)
1:      cmpb $0xcc, (%rsi)
        jne 1b
        lock incq (%rdi)
        jmp reads_behind_breakpoints
)");
extern "C" void reads_behind_breakpoints();

namespace {

constexpr u64 rounds = 200;
u64 window = 0;
u64 changes = 0;

void second() {
  asm volatile("jmp reads_behind_breakpoints" ::"S"(window), "D"(&changes));
  __builtin_unreachable();
}

long flush_other() {
  static u64 mask = 1 << 1;
  mmuext_op op{};
  op.cmd = MMUEXT_INVLPG_MULTI;
  op.arg1.linear_addr = window;
  op.arg2.vcpumask.p = &mask;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

bool changes_become(u64 wanted) {
  const u64 limit = now_ns() + 20'000'000'000;
  while (__atomic_load_n(&changes, __ATOMIC_SEQ_CST) != wanted)
    if (now_ns() > limit) return false;
  return true;
}

}  // namespace

void test() {
  Page* const same = new_page();
  Page* const other = new_page();
  same->words[0] = 0xcc;
  window = word(new_page());
  CHECK_EQ(map(window, mfn_of(same) * page_size | data), 0);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  for (u64 change = 1; change <= 2 * rounds; ++change) {
    const u64 entry = mfn_of(change % 2 != 0 ? other : same) * page_size | data;
    CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, window, entry, UVMF_NONE), 0);
    CHECK_EQ(flush_other(), 0);
    if (changes_become(change)) continue;
    CHECK_EQ(changes, change);
    return;
  }
}
