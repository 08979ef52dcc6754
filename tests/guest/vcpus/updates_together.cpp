// Two vCPUs write long lists of entries at the same time, each into its own L1, with the same data
// pages. At the end all entries are there, and the audit finds all counts correct. Each list begins with
// a change after which all processors have to flush: the monitor ends the program if a vCPU shares the
// lock before that flush.
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 2000, entries = 512, names = 16;
Page* tables[2];
Page* upper_tables[2];
Page* pages[names];
u64 finished = 0, failed = 0;

/// All entries of a table. Each round has other pages, or sometimes none.
void write_lists(u64 who) {
  static mmu_update_t lists[2][1 + entries];
  lists[who][0] = {mfn_of(upper_tables[who]) * page_size | MMU_NORMAL_PT_UPDATE, 0};
  mmu_update_t* list = lists[who] + 1;
  for (u64 round = 0; round < rounds; ++round) {
    for (u64 i = 0; i < entries; ++i) {
      const bool none = (round + i) % 7 == 0;
      list[i].ptr = (mfn_of(tables[who]) * page_size + i * 8) | MMU_NORMAL_PT_UPDATE;
      const u64 flags = round % 2 != 0 ? data : data & ~writable;
      list[i].val = none ? 0 : mfn_of(pages[(i + round) % names]) * page_size | flags;
    }
    u64 done = 0;
    if (hypercall(__HYPERVISOR_mmu_update, lists[who], 1 + entries, &done, DOMID_SELF) != 0) {
      __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST);
      break;
    }
    for (u64 i = 0; i < entries; ++i)
      if ((tables[who]->words[i] & 1) != (list[i].val & 1)) __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST);
  }
  __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

void second() {
  write_lists(1);
  for (;;) vcpu_op(VCPUOP_down, 1);
}

}  // namespace

void test() {
  for (Page*& page : pages) page = new_page();
  for (Page*& table : tables) {
    table = new_page();
    CHECK_EQ(make_read_only(table), 0);
    CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  }
  for (Page*& table : upper_tables) {
    table = new_page();
    CHECK_EQ(make_read_only(table), 0);
    CHECK_EQ(extended(MMUEXT_PIN_L2_TABLE, mfn_of(table)), 0);
  }
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  write_lists(0);
  const u64 limit = now_ns() + 60'000'000'000;
  while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) != 2 && now_ns() < limit)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  CHECK_EQ(finished, 2);
  CHECK_EQ(failed, 0);
  for (Page* table : upper_tables) CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  for (Page* table : tables) CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
}
