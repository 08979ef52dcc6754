// The second of two guests of docs/questions.md: it tries to reach a page of its neighbour
// (owns_a_page.cpp), whose frame number it knows, in every way that there is: before the page is granted,
// while it is, and afterwards. It prints what the hypervisor answers.
#include <xen/memory.h>
#include <xen/vcpu.h>

#include "machine/grants.hpp"

using namespace kit;

namespace {

long copy_from(u64 frame) {
  gnttab_copy args{};
  args.source.domid = args.dest.domid = DOMID_SELF;
  args.source.u.gmfn = frame;
  args.dest.u.gmfn = mfn_of(new_page());
  args.len = 8;
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  return args.status;
}

long grant_onward(u64 frame) {
  grant(forged_ref, frame, granted, self());
  return try_map(forged_ref, window(1), GNTMAP_host_map, self()).status;
}

long give_back(u64 frame) {
  xen_memory_reservation args{};
  args.extent_start.p = &frame;
  args.nr_extents = 1;
  args.domid = DOMID_SELF;
  return hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &args);
}

/// A page that has the entry becomes a table.
long as_an_entry_of_a_new_table(u64 entry) {
  static Page* const page = new_page();
  page->words[3] = entry;
  CHECK_EQ(make_read_only(page), 0);
  const long answer = extended(MMUEXT_PIN_L1_TABLE, mfn_of(page));
  CHECK_EQ(make_writable(page), 0);
  return answer;
}

void try_by_its_number(u64 frame) {
  const u64 entry = frame * page_size | data, table = frame * page_size | present | user;
  const u64 here = window(2);
  vcpu_register_vcpu_info info{frame, 0, 0};
  say("  in an entry of an L1: ", set_entry(entry_address(1, here), entry), ", read-only ",
      map(here, entry & ~writable), ", of a new L1 ", as_an_entry_of_a_new_table(entry));
  say("  in an entry of an L2: ", set_entry(entry_address(2, here), table), ", an L3 ",
      set_entry(entry_address(3, here), table), ", an L4 ", set_entry(entry_address(4, 0x1000), table));
  say("  as a table: pinned ", extended(MMUEXT_PIN_L1_TABLE, frame), ", loaded ",
      extended(MMUEXT_NEW_BASEPTR, frame), ", an entry stored in it ", set_entry(frame * page_size, 0));
  say("  as a page: cleared ", extended(MMUEXT_CLEAR_PAGE, frame), ", copied ", copy_from(frame),
      ", granted to myself ", grant_onward(frame), ", given back ", give_back(frame), " pages");
  say("  as a GDT: ", hypercall(__HYPERVISOR_set_gdt, &frame, 16), ", a vcpu_info ",
      hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, &info));
}

}  // namespace

void test() {
  install_traps();
  const u64 frame = meeting::hear("frame");
  say("before: a page of my neighbour's, by its number");
  try_by_its_number(frame);
  say("  by grant ", static_cast<long>(secret_ref), ": ", try_map(secret_ref, window(0)).status);
  say("waiting for a grant");

  meeting::hear("granted");
  const auto mapped = try_map(secret_ref, window(0));
  say("granted: by grant ", static_cast<long>(secret_ref), ": ", mapped.status, "; there is ",
      hex(reinterpret_cast<volatile u64*>(window(0))[5]));
  say("and by its number still");
  const u64 by_grant = entry_of(1, window(0));
  try_by_its_number(frame);
  CHECK_EQ(entry_of(1, window(0)), by_grant);
  say("it is at ", hex(window(0)));
  meeting::tell("mapped", 1);

  meeting::hear("wanted");
  const long ended = unmap_grant(mapped.handle, window(0));
  meeting::tell("unmapped", 1);
  meeting::hear("revoked");
  try_load(window(0));
  say("revoked: unmapped ", ended, "; a load from there: exception ", static_cast<long>(caught.vector));
  say("  by grant ", static_cast<long>(secret_ref), ": ", try_map(secret_ref, window(0)).status);
  try_by_its_number(frame);
  say("that is all");
  for (;;) nap();
}
