// The second of two guests of docs/questions.md: it tries to reach a page of its neighbour
// (owns_a_page.cpp), whose frame number it knows, in every way that there is: before the page is granted,
// while it is, and afterwards. It prints what the hypervisor answers.
#include <xen/memory.h>
#include <xen/vcpu.h>

#include "machine/grants.hpp"

using namespace kit;

namespace {

Page* copies() {
  static Page* const page = new_page();
  return page;
}

/// Copies the page's first words to one of mine.
long copy(gnttab_copy args) {
  args.dest.domid = DOMID_SELF;
  args.dest.u.gmfn = mfn_of(copies());
  args.len = 64;
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  return args.status;
}
long copy_from(u64 frame) {
  gnttab_copy args{};
  args.source.domid = DOMID_SELF;
  args.source.u.gmfn = frame;
  return copy(args);
}
long copy_by_grant(u32 ref) {
  gnttab_copy args{};
  args.source.domid = other();
  args.source.u.ref = ref;
  args.flags = GNTCOPY_source_gref;
  return copy(args);
}

long transfer(u64 frame) {
  gnttab_transfer args{frame, other(), forged_ref, 99};
  CHECK_EQ(grant_op(GNTTABOP_transfer, args), 0);
  return args.status;
}

/// The number of frames that were exchanged.
long exchange(u64 frame) {
  u64 out = 0;
  xen_memory_exchange args{};
  args.in.extent_start.p = &frame;
  args.out.extent_start.p = &out;
  args.in.nr_extents = args.out.nr_extents = 1;
  args.in.domid = args.out.domid = DOMID_SELF;
  (void)hypercall(__HYPERVISOR_memory_op, XENMEM_exchange, &args);
  return static_cast<long>(args.nr_exchanged);
}

/// By the hypercall of page tables.
long copy_page(u64 frame) {
  mmuext_op op{};
  op.cmd = MMUEXT_COPY_PAGE;
  op.arg1.mfn = mfn_of(copies());
  op.arg2.src_mfn = frame;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, 0, DOMID_SELF);
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
      set_entry(entry_address(1, here), entry & ~writable), ", by its address ", map(here, entry),
      ", of a new L1 ", as_an_entry_of_a_new_table(entry));
  say("  in an entry of an L2: ", set_entry(entry_address(2, here), table), ", an L3 ",
      set_entry(entry_address(3, here), table), ", an L4 ", set_entry(entry_address(4, 0x1000), table));
  say("  as a table: pinned ", extended(MMUEXT_PIN_L1_TABLE, frame), ", loaded ",
      extended(MMUEXT_NEW_BASEPTR, frame), ", an entry stored in it ", set_entry(frame * page_size, 0));
  say("  as a page: cleared ", extended(MMUEXT_CLEAR_PAGE, frame), ", copied ", copy_page(frame), " and ",
      copy_from(frame), ", granted to myself ", grant_onward(frame));
  say("  as one to give away: given back ", give_back(frame), " pages, exchanged ", exchange(frame),
      ", transferred ", transfer(frame));
  say("  as a GDT: ", hypercall(__HYPERVISOR_set_gdt, &frame, 16), ", a vcpu_info ",
      hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, &info));
}

/// Of a grant that there is not, or not yet, and of one past the end of the table.
void try_by_grant() {
  constexpr u32 past_the_table = 1U << 30;
  say("  by grant ", static_cast<long>(secret_ref), ": ", try_map(secret_ref, window(0)).status, ", copied ",
      copy_by_grant(secret_ref), "; by one of a forged number ", try_map(past_the_table, window(0)).status);
}

}  // namespace

void test() {
  install_traps();
  const u64 frame = meeting::hear("frame");
  say("before: a page of my neighbour's, by its number");
  try_by_its_number(frame);
  try_by_grant();
  say("waiting for a grant");

  meeting::hear("granted");
  const auto mapped = try_map(secret_ref, window(0));
  say("granted: by grant ", static_cast<long>(secret_ref), ": ", mapped.status, "; there is ",
      hex(reinterpret_cast<volatile u64*>(window(0))[5]));
  const long copied = copy_by_grant(secret_ref);
  say("  copied by grant ", static_cast<long>(secret_ref), ": ", copied, "; there is ",
      hex(copies()->words[5]));
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
  try_by_grant();
  try_by_its_number(frame);
  say("that is all");
  for (;;) nap();
}
