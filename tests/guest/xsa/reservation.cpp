// Advisories about memory_op: extents, exchange, and a domain's limit.
#include <xen/memory.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u64 hole = 0x7654321000, xen_range = 0xffff804000000000, not_canonical = 0x0000800000000000;

long memory(u32 command, void* argument) { return hypercall(__HYPERVISOR_memory_op, command, argument); }

xen_memory_reservation extents(u64* list, u64 count, u32 order) {
  xen_memory_reservation r{};
  r.extent_start.p = list;
  r.nr_extents = count;
  r.extent_order = order;
  r.domid = DOMID_SELF;
  return r;
}

long current() {
  domid_t self = DOMID_SELF;
  return memory(XENMEM_current_reservation, &self);
}

/// XSA-31, 158: for orders and counts that are too large, 0 extents are completed.
void extent_orders() {
  u64 list[1] = {1};
  const long before = current();
  for (u32 command : {XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap})
    for (u32 order : {10U, 18U, 31U, 32U, 52U, 63U, 64U, 0x80000000U, 0xffffffffU})
      for (u64 count : {1UL, 0xffffffffUL, ~0UL}) {
        auto request = extents(list, count, order);
        CHECK_EQ(memory(command, &request), 0);
      }
  if (!is_dom0()) {  // which may have larger ones
    list[0] = reinterpret_cast<const u64*>(info->mfn_list)[info->nr_pages - 1024];
    auto own = extents(list, 1, 10);
    CHECK_EQ(memory(XENMEM_decrease_reservation, &own), 0);
  }
  CHECK_EQ(current(), before);
}

/// XSA-385: no request gives a domain more than its limit. XSA-14, 231: flags and nodes change nothing.
void beyond_the_limit() {
  static u64 list[8];
  const long before = current();
  domid_t self = DOMID_SELF;
  CHECK(memory(XENMEM_maximum_reservation, &self) >= before);
  for (u32 node = 0; node < 8; ++node) {
    auto request = extents(list, 8, 9);
    request.mem_flags = XENMEMF_node(node * 37) | (node & 1 ? XENMEMF_populate_on_demand : 0);
    const long done = memory(XENMEM_increase_reservation, &request);
    CHECK(done >= 0 && done <= 8);
    if (done > 0) {
      auto back = extents(list, static_cast<u64>(done), 9);
      CHECK_EQ(memory(XENMEM_decrease_reservation, &back), done);
    }
  }
  CHECK_EQ(current(), before);
  for (u64 count : {1UL << 39, 0xffffffffUL, 0x100000000UL}) {
    auto request = extents(nullptr, count, 0);
    CHECK(memory(XENMEM_increase_reservation, &request) <=
          memory(XENMEM_maximum_reservation, &self) - before);
  }
  CHECK(current() <= memory(XENMEM_maximum_reservation, &self));
}

/// XSA-100: a frame that was given back and allocated again has no old contents.
void frames_had_again() {
  Page* page = new_page();
  for (u64& w : page->words) w = 0x5ec2e7;
  u64 list[1] = {mfn_of(page)};
  CHECK_EQ(map(page, 0), 0);
  auto give = extents(list, 1, 0);
  CHECK_EQ(memory(XENMEM_decrease_reservation, &give), 1);
  list[0] = 4242;  // the PFN that the guest chooses for it
  auto take = extents(list, 1, 0);
  CHECK_EQ(memory(XENMEM_populate_physmap, &take), 1);
  CHECK_EQ(map(page, list[0] * page_size | data), 0);
  if (is_dom0()) return;  // Xen leaves it to a living domain to clear its own frames
  for (u64 w : page->words)
    if (w != 0) return CHECK_EQ(w, 0);
}

/// XSA-252: a loaded and pinned root that is given back stays a root.
void roots_given_back() {
  Page* root = new_page();
  root->words[511] = reinterpret_cast<Page*>(info->pt_base)->words[511];
  CHECK_EQ(make_read_only(root), 0);
  const u64 mfn = mfn_of(root);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn), 0);
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn), 0);
  u64 list[1] = {mfn};
  auto give = extents(list, 1, 0);
  CHECK_EQ(memory(XENMEM_decrease_reservation, &give), 1);
  if (!is_dom0())
    CHECK_EQ(memory(XENMEM_decrease_reservation, &give), 0);  // once; Xen takes it again, to no effect
  CHECK_EQ(make_writable(root), ebusy);
  try_store(word(root), 1);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn), einval);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn), 0);
  CHECK_EQ(make_writable(root), ebusy);
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn_of(reinterpret_cast<void*>(info->pt_base))), 0);
  CHECK_EQ(make_writable(root), 0);
  CHECK_EQ(map(root, 0), 0);  // the last reference
  CHECK(map(root, mfn * page_size | data) < 0);
}

struct Exchange {
  u64 in[8]{}, out[8]{};
  xen_memory_exchange args{};
  Exchange() {
    args.in = extents(in, 1, 0);
    args.out = extents(out, 1, 0);
  }
  long make() { return memory(XENMEM_exchange, &args); }
};

u64 unmapped_frame() {
  Page* page = new_page();
  CHECK_EQ(map(page, 0), 0);
  return mfn_of(page);
}

/// XSA-29, 212: lists in the hypervisor's memory, by their address or by the progress counter.
void exchange_pointers() {
  Exchange x;
  x.in[0] = unmapped_frame();
  for (u64 bad : {xen_range, not_canonical, hole, 0xfffffffffffffff8UL}) {
    Exchange y = x;
    y.args.in.extent_start.p = reinterpret_cast<xen_pfn_t*>(bad);
    y.args.out.extent_start.p = y.out;
    CHECK_EQ(y.make(), efault);
    Exchange z = x;
    z.args.in.extent_start.p = z.in;
    z.args.out.extent_start.p = reinterpret_cast<xen_pfn_t*>(bad);
    if (!is_dom0()) CHECK_EQ(z.make(), efault);  // Xen finds out when the frame is gone, and keeps it
    // A list in the guest's memory, and a progress counter that leads from there to the bad address.
    Exchange w = x;
    w.args.in.extent_start.p = w.in;
    w.args.out.extent_start.p = w.out;
    w.args.nr_exchanged = (bad - word(w.out)) / 8;
    CHECK_EQ(w.make(), einval);
    w.args.in.nr_extents = w.args.out.nr_extents = ~0UL;
    CHECK(w.make() < 0);
    w.args.in.nr_extents = w.args.out.nr_extents = (1UL << 40) - 1;
    w.args.nr_exchanged = 1UL << 39;
    CHECK_EQ(w.make(), efault);
  }
  if (is_dom0()) return;
  // The output is read-only: refused before the frame is given back.
  Exchange r = x;
  r.args.in.extent_start.p = r.in;
  r.args.out.extent_start.p = reinterpret_cast<xen_pfn_t*>(table_of(1, word(new_page())));
  CHECK_EQ(r.make(), efault);
  CHECK_EQ(map(new_page(), x.in[0] * page_size | data), 0);
}

/// XSA-158, 159: sizes that don't fit, frames that are in use, the same frame twice.
void exchange_sizes() {
  Exchange x;
  x.in[0] = x.in[1] = unmapped_frame();
  for (u32 order : {20U, 31U, 63U, 64U, 0xffffffffU}) {
    x.args.in.extent_order = order;
    CHECK_EQ(x.make(), eperm);
    x.args.in.extent_order = 0;
    x.args.out.extent_order = order;
    CHECK_EQ(x.make(), eperm);
    x.args.out.extent_order = 0;
  }
  x.args.in.nr_extents = 2;
  CHECK_EQ(x.make(), einval);  // two for one
  x.args.out.nr_extents = 2;
  x.args.nr_exchanged = 3;
  CHECK_EQ(x.make(), einval);
  x.args.nr_exchanged = 0;
  CHECK(x.make() < 0);  // the same frame twice
  const u64 done = x.args.nr_exchanged;
  CHECK(done <= 1);
  x.args.nr_exchanged = 0;
  x.args.in.nr_extents = x.args.out.nr_extents = 1;
  for (u64 bad :
       {mfn_of(new_page()), mfn_of(table_of(1, word(&x))), mfn_of(reinterpret_cast<void*>(info->pt_base)),
        info->shared_info / page_size, 0UL, 0xffffffffUL, ~0UL}) {
    x.in[0] = bad;  // mapped, a table, a root, the monitor's, nobody's
    CHECK_EQ(x.make(), einval);
    CHECK_EQ(x.args.nr_exchanged, 0);
  }
  x.args.in.domid = 0;
  CHECK(x.make() < 0);
  // One frame twice among the inputs of one extent.
  Exchange twice;
  for (u64 i = 0; i < 4; ++i) twice.in[i] = unmapped_frame();
  twice.in[2] = twice.in[1];
  twice.args.in.nr_extents = 4;
  twice.args.out.extent_order = 2;
  const long before = current();
  CHECK_EQ(twice.make(), einval);
  CHECK_EQ(twice.args.nr_exchanged, 0);
  CHECK_EQ(current(), before);
}

/// A valid exchange works, and one that stops half way returns its progress.
void exchange_works() {
  Exchange x;
  for (u64 i = 0; i < 4; ++i) x.in[i] = unmapped_frame();
  x.out[0] = 777;
  x.args.in.nr_extents = 4;
  x.args.out.extent_order = 2;
  const long before = current();
  CHECK_EQ(x.make(), 0);
  CHECK_EQ(x.args.nr_exchanged, 4);
  CHECK_EQ(x.out[0] % 4, 0);
  CHECK_EQ(current(), before);
  Page* window = new_page();
  for (u64 i = 0; i < 4; ++i) {
    CHECK_EQ(map(window, (x.out[0] + i) * page_size | data), 0);
    CHECK_EQ(window->words[0], 0);
    CHECK(map(window, x.in[i] * page_size | data) < 0 || (x.in[i] >= x.out[0] && x.in[i] < x.out[0] + 4));
  }
  CHECK_EQ(make_writable(window), 0);
  Exchange half;
  half.in[0] = x.out[0];
  half.in[1] = ~0UL;
  half.args.in.nr_extents = half.args.out.nr_extents = 2;
  CHECK_EQ(half.make(), einval);
  CHECK_EQ(half.args.nr_exchanged, 1);
  CHECK_EQ(map(window, half.out[0] * page_size | data), 0);
  CHECK_EQ(current(), before);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  extent_orders();
  frames_had_again();
  roots_given_back();
  exchange_pointers();
  exchange_sizes();
  exchange_works();
  beyond_the_limit();
}
