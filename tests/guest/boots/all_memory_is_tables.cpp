// All frames that the initial tables do not map become page tables at the same time, L1 and L2 in turn. None
// is refused. Then they become data, and then tables again.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 batch = 512, virt_base = 0xffffffff80000000;

/// The first frame that the initial tables do not map.
u64 first_unmapped() {
  u64 first = 0;
  for (u64 pfn = 0; pfn < info->nr_pages; ++pfn) {
    const u64 va = virt_base + pfn * page_size;
    if (table_of(1, va) != nullptr && (entry_of(1, va) & present) != 0) first = pfn + 1;
  }
  return first;
}

void all_of_them(u64 first, bool pin) {
  static mmuext_op ops[batch];
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  u64 refused = 0;
  for (u64 pfn = first; pfn < info->nr_pages; pfn += batch) {
    u32 count = 0;
    for (; count < batch && pfn + count < info->nr_pages; ++count) {
      ops[count].cmd = !pin ? MMUEXT_UNPIN_TABLE : count % 2 == 0 ? MMUEXT_PIN_L1_TABLE : MMUEXT_PIN_L2_TABLE;
      ops[count].arg1.mfn = p2m[pfn + count];
    }
    if (hypercall(__HYPERVISOR_mmuext_op, ops, count, nullptr, DOMID_SELF) != 0) ++refused;
  }
  CHECK_EQ(refused, 0);
}

}  // namespace

void test() {
  const u64 first = first_unmapped();
  CHECK(first < info->nr_pages / 4);
  Page* window = new_page();
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  for (int round = 0; round < 2; ++round) {
    all_of_them(first, true);
    CHECK(map(window, p2m[info->nr_pages - 1] * page_size | data) != 0);
    all_of_them(first, false);
    CHECK_EQ(map(window, p2m[info->nr_pages - 1] * page_size | data), 0);
    CHECK_EQ(map(window, 0), 0);
  }
}
