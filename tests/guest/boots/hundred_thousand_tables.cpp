// A hundred thousand tables at the same time, no two of them adjacent, all read-only in the view. These are
// more pieces than the host lets a mapping have. Then the tables become data again.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 tables = 100'000, batch = 1000;

void pin_or_unpin(u32 command, u64 first_pfn) {
  static mmuext_op ops[batch];
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  for (u64 done = 0; done < tables; done += batch) {
    for (u64 i = 0; i < batch; ++i) {
      ops[i].cmd = command;
      ops[i].arg1.mfn = p2m[first_pfn + 2 * (done + i)];
    }
    u32 count = 0;
    CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, ops, batch, &count, DOMID_SELF), 0);
    CHECK_EQ(count, batch);
  }
}

}  // namespace

void test() {
  install_traps();
  // Far behind all mapped frames: nothing uses these as data.
  const u64 first = info->nr_pages - 2 * tables;
  pin_or_unpin(MMUEXT_PIN_L1_TABLE, first);
  // A table in use stays a table, and its neighbour is data.
  Page* window = new_page();
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  CHECK(map(window, p2m[first] * page_size | data) != 0);
  CHECK_EQ(map(window, p2m[first + 1] * page_size | data), 0);
  window->words[0] = 1;
  pin_or_unpin(MMUEXT_UNPIN_TABLE, first);
  CHECK_EQ(map(window, p2m[first] * page_size | data), 0);
  window->words[0] = 2;
  CHECK_EQ(window->words[0], 2);
}
