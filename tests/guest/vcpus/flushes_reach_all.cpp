// After a flush of all vCPUs, or of one other vCPU, has returned, that vCPU reads through the new entry, and
// never again from the page that was mapped before.
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 500;
u64 window = 0;  ///< The virtual address whose entry changes.
u64 seen = 0, reads = 0;

void second() {
  for (;;) {
    const u64 value = *reinterpret_cast<volatile u64*>(window);
    __atomic_store_n(&seen, value, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&reads, 1, __ATOMIC_SEQ_CST);
  }
}

/// Returns what the other vCPU reads, by a read that begins after the call.
u64 read_there() { return goes_on(reads, 2) ? __atomic_load_n(&seen, __ATOMIC_SEQ_CST) : ~0UL; }

long flush_other() {
  static u64 mask = 1 << 1;
  mmuext_op op{};
  op.cmd = MMUEXT_TLB_FLUSH_MULTI;
  op.arg2.vcpumask.p = &mask;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

}  // namespace

void test() {
  Page* const pages[2] = {new_page(), new_page()};
  window = word(new_page());
  pages[0]->words[0] = 0;
  CHECK_EQ(map(window, mfn_of(pages[0]) * page_size | data), 0);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  CHECK_EQ(read_there(), 0);

  u64 wrong = 0;
  for (u64 round = 1; round <= rounds; ++round) {
    Page* const page = pages[round & 1];
    page->words[0] = round;
    const u64 entry = mfn_of(page) * page_size | data;
    if ((round & 2) != 0) {
      CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, window, entry, UVMF_INVLPG | UVMF_ALL), 0);
    } else {
      CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, window, entry, UVMF_NONE), 0);
      CHECK_EQ(flush_other(), 0);
    }
    wrong += read_there() != round;
  }
  CHECK_EQ(wrong, 0);
}
