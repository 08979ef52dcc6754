// Four vCPUs change entries of the same two tables by short lists, which their gates finish at the same time,
// while one of them now and then needs the domain's lock alone. Each has entries of its own, and finds there
// what it wrote. At the end the audit finds all counts correct.
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 vcpus = 4, own = 512 / vcpus, names = 16, longest = 6;
Page* tables[2];
Page* pages[names];
Page* others;
u64 rounds = 3000, finished = 0, failed = 0;

void fail() { __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST); }

void write_lists(u64 who) {
  static mmu_update_t lists[vcpus][longest];
  u64 expected[2][own] = {};
  u64 random = who + 1;
  const auto below = [&](u64 limit) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return (random >> 33) % limit;
  };
  for (u64 round = 0; round < rounds; ++round) {
    const u64 count = 1 + below(longest);
    for (u64 i = 0; i < count; ++i) {
      const u64 which = below(2), slot = below(own);
      const u64 flags = below(2) == 0 ? data : data & ~writable;
      const u64 value = below(4) == 0 ? 0 : mfn_of(pages[below(names)]) * page_size | flags;
      lists[who][i] = {mfn_of(tables[which]) * page_size + (slot * vcpus + who) * 8, value};
      expected[which][slot] = value;
    }
    if (hypercall(__HYPERVISOR_mmu_update, lists[who], count, nullptr, DOMID_SELF) != 0) return fail();
    const u64 which = below(2), slot = below(own);
    const u64 found = static_cast<volatile Page*>(tables[which])->words[slot * vcpus + who];
    if (((found ^ expected[which][slot]) & (address_bits | present | writable)) != 0) fail();
    if (who == 0 && round % 32 == 0 &&
        (extended(MMUEXT_PIN_L1_TABLE, mfn_of(others)) != 0 ||
         extended(MMUEXT_UNPIN_TABLE, mfn_of(others)) != 0))
      fail();
  }
}

template <u64 who>
void run() {
  write_lists(who);
  __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
  for (;;) vcpu_op(VCPUOP_down, who);
}

template <u64 who>
void start() {
  CHECK_EQ(vcpu_op(VCPUOP_initialise, who, &context_of<who>(run<who>)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, who), 0);
}

}  // namespace

void test() {
  if (asked_for("few")) rounds = 300;
  for (Page*& page : pages) page = new_page();
  others = new_page();
  CHECK_EQ(make_read_only(others), 0);
  for (Page*& table : tables) {
    table = new_page();
    CHECK_EQ(make_read_only(table), 0);
    CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  }
  start<1>();
  start<2>();
  start<3>();
  write_lists(0);
  const u64 limit = now_ns() + 120'000'000'000;
  while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) != vcpus - 1 && now_ns() < limit)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  CHECK_EQ(finished, vcpus - 1);
  CHECK_EQ(failed, 0);
  for (Page* table : tables) CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
}
