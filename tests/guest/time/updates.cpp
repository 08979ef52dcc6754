// What a call takes that the gate may finish, in ticks of the TSC from the instruction before its SYSCALL to
// the one behind it, and for comparison one that it leaves to the monitor. Where the machine counts
// instructions (scripts/rig --count), a tick is an instruction.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 256;

u64 tsc() {
  u32 low = 0, high = 0;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return u64{high} << 32 | low;
}

/// The least that one of many calls takes, of those with even numbers: others may have been interrupted.
template <class Call>
u64 least(Call&& call) {
  u64 found = ~0UL;
  for (u64 i = 0; i < rounds; ++i) {
    const u64 before = tsc();
    const long result = call(i);
    const u64 taken = tsc() - before;
    CHECK_EQ(result < 0, false);
    if (i % 2 == 0 && taken < found) found = taken;
  }
  return found;
}

}  // namespace

void test() {
  static mmu_update_t lists[2][32];
  Page* const table = new_page();
  Page* const data_page = new_page();
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  mmuext_op root{};
  root.cmd = MMUEXT_NEW_BASEPTR;
  root.arg1.mfn = mfn_of(reinterpret_cast<void*>(info->pt_base));
  const u64 here = entry_of(1, word(data_page));
  const u64 nothing = least([](u64) { return 0L; });
  const auto of_call = [&](u64 ticks) { return ticks - nothing; };

  const auto version = [](u64) { return hypercall(__HYPERVISOR_xen_version, 0, nullptr); };
  say("ticks: version ", of_call(least(version)));
  const auto page_bytes = [](u64) { return hypercall(__HYPERVISOR_xen_version, XENVER_pagesize, nullptr); };
  say("ticks: left to the monitor ", of_call(least(page_bytes)));
  const u64 entry = mfn_of(data_page) * page_size | data;
  struct {
    const char* name;
    u64 values[2];
  } const changes[] = {
      {"set", {entry, 0}}, {"cleared", {0, entry}}, {"made read-only", {entry & ~writable, entry}}};
  for (const auto& change : changes) {
    for (u64 k = 0; k < 64; ++k)
      lists[k % 2][k / 2] = {mfn_of(table) * page_size + 8 * (k / 2), change.values[k % 2]};
    for (const u64 count : {1UL, 32UL}) {
      const auto update = [&](u64 i) {
        return hypercall(__HYPERVISOR_mmu_update, lists[i % 2], count, nullptr, DOMID_SELF);
      };
      update(1);
      say("ticks: ", change.name, ", entries: ", count, ": ", of_call(least(update)));
    }
  }
  say("ticks: entry by its address ", of_call(least([&](u64) {
        return hypercall(__HYPERVISOR_update_va_mapping, word(data_page), here, 0);
      })));
  say("ticks: root ",
      of_call(least([&](u64) { return hypercall(__HYPERVISOR_mmuext_op, &root, 1, nullptr, DOMID_SELF); })));
}
