// A guest with more than 4 GiB has memory on both sides of the frames below 4 GiB that KVM may use itself. It
// has none of these frames and can't get any.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 first_withheld = 0xfffbc, withheld_end = 0xfffc0;

void is_memory(u64 mfn) {
  Page* window = new_page();
  CHECK_EQ(map(window, mfn * page_size | data), 0);
  window->words[511] = mfn;
  CHECK_EQ(window->words[511], mfn);
  CHECK_EQ(map(window, 0), 0);
}

}  // namespace

void test() {
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  u64 before = 0, behind = 0, withheld = 0;
  for (u64 pfn = 0; pfn < info->nr_pages; ++pfn) {
    const u64 mfn = p2m[pfn];
    if (mfn < first_withheld)
      ++before;
    else if (mfn < withheld_end)
      ++withheld;
    else
      ++behind;
  }
  CHECK(before > first_withheld - 64);
  CHECK(behind > 0);
  CHECK_EQ(withheld, 0);
  is_memory(first_withheld - 1);
  is_memory(withheld_end);
  Page* window = new_page();
  for (u64 mfn = first_withheld; mfn < withheld_end; ++mfn) CHECK(map(window, mfn * page_size | data) != 0);
}
