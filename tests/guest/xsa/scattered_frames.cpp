// XSA-222: gives back every other frame of a memory that is so large that the host has no room for all
// these holes in the view. The frames that can't be removed from the view stay the guest's, and
// monitor and guest go on.
#include <xen/memory.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

long give_back(u64* list, u64 count) {
  xen_memory_reservation r{};
  r.extent_start.p = list;
  r.nr_extents = count;
  r.domid = DOMID_SELF;
  return hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &r);
}

}  // namespace

void test() {
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  static u64 list[512];
  constexpr u64 first = 8192;  // far behind all mapped frames
  long given = 0, wanted = 0;
  u64 filled = 0;
  for (u64 pfn = first; pfn < info->nr_pages; pfn += 2) {
    list[filled++] = p2m[pfn];
    if (filled < 512 && pfn + 2 < info->nr_pages) continue;
    given += give_back(list, filled);
    wanted += static_cast<long>(filled);
    filled = 0;
  }
  CHECK_EQ(given, wanted);
  domid_t self = DOMID_SELF;
  const long left = hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self);
  say("asked to give back ", given, " of ", static_cast<long>(info->nr_pages), ", has ", left);
  CHECK(left <= static_cast<long>(info->nr_pages));
  CHECK(left >= static_cast<long>(info->nr_pages) - given);
  // A frame that was not given back can be used as before.
  Page* window = new_page();
  CHECK_EQ(map(window, p2m[first + 1] * page_size | data), 0);
  window->words[0] = 1;
  CHECK_EQ(window->words[0], 1);
}
