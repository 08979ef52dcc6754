// Copies and transfers: what each wrong argument is answered with. The answers are those of Xen 4.17, where
// the guest runs as domain 0; guest.xsa.grants has more.
#include "grants/own_grants.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u32 from_ref = 20, to_ref = 21, entries_per_frame = 512;
constexpr u16 from_grant = GNTCOPY_source_gref, to_grant = GNTCOPY_dest_gref, both = from_grant | to_grant;

void copies_in_both_directions(Page* page, Page* spare) {
  const u64 from = mfn_of(page), to = mfn_of(spare);
  grant(from_ref, from, plain | GTF_readonly);
  grant(to_ref, to);
  u64 value = 0x1000;
  const auto works = [&](const gnttab_copy& args) {
    page->words[5] = ++value;
    CHECK_EQ(copy(args), GNTST_okay);
    CHECK_EQ(spare->words[6], value);
  };
  works(copy_of(0, from, to));
  works(copy_of(from_grant, from_ref, to));
  works(copy_of(to_grant, from, to_ref));
  works(copy_of(both, from_ref, to_ref));
  works(copy_of(both, from_ref, to_ref, 8, 40, 48, own_number()));
  CHECK_EQ(flags_of(from_ref), plain | GTF_readonly);
  CHECK_EQ(flags_of(to_ref), plain);
  // Within one page, and bytes in the middle of words.
  page->words[0] = 0x8877665544332211;
  page->words[1] = 0;
  CHECK_EQ(copy(copy_of(0, from, from, 3, 1, 10)), GNTST_okay);
  CHECK_EQ(page->words[1], 0x4433220000);
}

void keeps_within_pages(Page* page, Page* spare) {
  const u64 from = mfn_of(page), to = mfn_of(spare);
  for (u16 flags : {u16{0}, both}) {
    const u64 source = flags == 0 ? from : from_ref, dest = flags == 0 ? to : to_ref;
    const auto within = [&](u16 length, u16 at, u16 where) {
      return copy(copy_of(flags, source, dest, length, at, where));
    };
    CHECK_EQ(within(4096, 0, 0), GNTST_okay);
    CHECK_EQ(within(1, 4095, 4095), GNTST_okay);
    CHECK_EQ(within(4097, 0, 0), GNTST_bad_copy_arg);
    CHECK_EQ(within(65535, 0, 0), GNTST_bad_copy_arg);
    CHECK_EQ(within(2, 4095, 0), GNTST_bad_copy_arg);
    CHECK_EQ(within(2, 0, 4095), GNTST_bad_copy_arg);
    CHECK_EQ(within(1, 4096, 0), GNTST_bad_copy_arg);
    CHECK_EQ(within(1, 0, 65535), GNTST_bad_copy_arg);
    CHECK_EQ(within(65535, 65535, 65535), GNTST_bad_copy_arg);
    // Nothing to copy is no reason not to look.
    CHECK_EQ(within(0, 4096, 4096), GNTST_okay);
    CHECK_EQ(within(0, 4097, 0), GNTST_bad_copy_arg);
    CHECK_EQ(within(0, 0, 65535), GNTST_bad_copy_arg);
  }
  CHECK_EQ(flags_of(to_ref), plain);
  CHECK_EQ(copy(copy_of(both, 0xffffffff, to_ref, 0)), GNTST_bad_gntref);
  CHECK_EQ(copy(copy_of(both, from_ref, to_ref, 0, 0, 0, 77)), GNTST_bad_domain);
}

void refuses_wrong_domains(Page* page, Page* spare) {
  const u64 from = mfn_of(page), to = mfn_of(spare);
  for (domid_t dom : {domid_t{77}, domid_t{DOMID_IO}, domid_t{DOMID_XEN}, domid_t{DOMID_INVALID}})
    for (u16 flags : {u16{0}, both}) {
      auto args = flags == 0 ? copy_of(0, from, to) : copy_of(both, from_ref, to_ref);
      args.source.domid = dom;
      CHECK_EQ(copy(args), GNTST_bad_domain);
      args.source.domid = DOMID_SELF;
      args.dest.domid = dom;
      CHECK_EQ(copy(args), GNTST_bad_domain);
    }
  // A frame is named by its number for DOMID_SELF only.
  auto args = copy_of(0, from, to);
  args.source.domid = own_number();
  CHECK_EQ(copy(args), GNTST_permission_denied);
  args.dest.domid = 77;
  CHECK_EQ(copy(args), GNTST_bad_domain);
  args.source.domid = 77;
  args.dest.domid = own_number();
  CHECK_EQ(copy(args), GNTST_bad_domain);
  args.source.domid = DOMID_SELF;
  CHECK_EQ(copy(args), GNTST_permission_denied);
  // The first that is wrong decides: the source's domain, the destination's, the source, the destination,
  // bounds.
  args = copy_of(from_grant, 0xffffffff, to, 8, 4096, 0, 77);
  CHECK_EQ(copy(args), GNTST_bad_domain);
  args.source.domid = DOMID_SELF;
  CHECK_EQ(copy(args), GNTST_bad_domain);
  args.dest.domid = DOMID_SELF;
  CHECK_EQ(copy(args), GNTST_bad_gntref);
  CHECK_EQ(copy(copy_of(to_grant, from, 0xffffffff, 8, 4096, 0)), GNTST_bad_gntref);
}

void refuses_wrong_ends(Page* page, Page* spare) {
  const u64 from = mfn_of(page), to = mfn_of(spare);
  for (u64 frame : {others_frame(), u64{0x7fffffff}, u64{1} << 40, ~u64{0}, ~u64{0} >> 12}) {
    CHECK_EQ(copy(copy_of(0, frame, to)), GNTST_bad_page);
    CHECK_EQ(copy(copy_of(0, from, frame)), GNTST_bad_page);
    grant(to_ref, frame);
    if (frame >> 32 != 0) continue;
    CHECK_EQ(copy(copy_of(from_grant, to_ref, to)), GNTST_bad_page);
    CHECK_EQ(copy(copy_of(to_grant, from, to_ref)), GNTST_bad_page);
    CHECK_EQ(flags_of(to_ref), plain);
  }
  for (u32 wrong : {64 * entries_per_frame, 0x80000000U + to_ref, 0xffffffffU}) {
    CHECK_EQ(copy(copy_of(from_grant, wrong, to)), GNTST_bad_gntref);
    CHECK_EQ(copy(copy_of(to_grant, from, wrong)), GNTST_bad_gntref);
  }
  for (u16 flags : {u16{GTF_invalid}, u16{GTF_accept_transfer}, u16{GTF_transitive}}) {
    grant(to_ref, to, flags);
    CHECK_EQ(copy(copy_of(from_grant, to_ref, from)), GNTST_general_error);
    CHECK_EQ(copy(copy_of(to_grant, from, to_ref)), GNTST_general_error);
    CHECK_EQ(flags_of(to_ref), flags);
  }
  // A part of a page is granted by version 2; the flag means nothing to a copy by version 1.
  grant(to_ref, to, plain | GTF_sub_page);
  CHECK_EQ(copy(copy_of(to_grant, from, to_ref)), GNTST_okay);
  for (domid_t dom : {domid_t{77}, domid_t{DOMID_SELF}}) {
    grant(to_ref, to, plain, dom);
    CHECK_EQ(copy(copy_of(to_grant, from, to_ref)), GNTST_general_error);
  }
  grant(to_ref, to, plain | GTF_readonly);
  CHECK_EQ(copy(copy_of(to_grant, from, to_ref)), GNTST_general_error);
  CHECK_EQ(copy(copy_of(from_grant, to_ref, from)), GNTST_okay);
  CHECK_EQ(flags_of(to_ref), plain | GTF_readonly);
}

/// A table may be read, and is not written.
void writes_no_tables(Page* page, Page* table) {
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  grant(to_ref, mfn_of(table));
  CHECK_EQ(copy(copy_of(0, mfn_of(page), mfn_of(table))), GNTST_general_error);
  CHECK_EQ(copy(copy_of(to_grant, mfn_of(page), to_ref)), GNTST_general_error);
  CHECK_EQ(copy(copy_of(from_grant, to_ref, mfn_of(page))), GNTST_okay);
  CHECK_EQ(flags_of(to_ref), plain);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  // Read-only for the guest, and still a page.
  CHECK_EQ(copy(copy_of(0, mfn_of(page), mfn_of(table))), GNTST_okay);
  CHECK_EQ(make_writable(table), 0);
}

/// While a grant is mapped, the entry's frame and domain are settled.
void copies_what_is_in_use(Page* page, Page* spare) {
  grant(from_ref, mfn_of(page));
  const auto mapped = map_grant(from_ref, window(0), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(mapped.status, GNTST_okay);
  grant(from_ref, mfn_of(spare), GTF_reading, 77);
  page->words[5] = 0x4711;
  spare->words[6] = 0;
  CHECK_EQ(copy(copy_of(from_grant, from_ref, mfn_of(spare))), GNTST_okay);
  CHECK_EQ(spare->words[6], 0x4711);
  // The first to write asks the entry whether it may, and for the frame, but for nothing else.
  CHECK_EQ(copy(copy_of(to_grant, mfn_of(spare), from_ref)), GNTST_general_error);
  grant(from_ref, mfn_of(page), GTF_reading, 77);
  page->words[6] = 0;
  CHECK_EQ(copy(copy_of(to_grant, mfn_of(page), from_ref)), GNTST_okay);
  CHECK_EQ(page->words[6], 0x4711);
  grant(from_ref, mfn_of(spare), plain | GTF_readonly | GTF_reading);
  CHECK_EQ(copy(copy_of(to_grant, mfn_of(spare), from_ref)), GNTST_general_error);
  CHECK_EQ(copy(copy_of(from_grant, from_ref, mfn_of(spare))), GNTST_okay);
  CHECK_EQ(flags_of(from_ref), plain | GTF_readonly | GTF_reading);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(from_ref), plain | GTF_readonly);
}

/// Each copy of a list has its own status, whatever the one before it came to.
void works_through_lists(Page* page, Page* spare) {
  static gnttab_copy list[200];
  const u64 from = mfn_of(page), to = mfn_of(spare);
  grant(from_ref, from, plain | GTF_readonly);
  grant(to_ref, to);
  const gnttab_copy kinds[] = {copy_of(both, from_ref, to_ref), copy_of(both, to_ref, from_ref),
                               copy_of(0, from, others_frame()), copy_of(0, from, to),
                               copy_of(both, from_ref, to_ref, 8, 4095, 0)};
  constexpr long answers[] = {GNTST_okay, GNTST_general_error, GNTST_bad_page, GNTST_okay,
                              GNTST_bad_copy_arg};
  for (u32 i = 0; i < 200; ++i) list[i] = kinds[i % 5];
  CHECK_EQ(grant_op(GNTTABOP_copy, list[0], 200), 0);
  u32 right = 0;
  for (u32 i = 0; i < 200; ++i) right += list[i].status == answers[i % 5];
  CHECK_EQ(right, 200);
  CHECK_EQ(flags_of(from_ref), plain | GTF_readonly);
  CHECK_EQ(flags_of(to_ref), plain);
}

long transfer(u64 frame, domid_t dom, u32 ref) {
  gnttab_transfer args{frame, dom, ref, 99};
  CHECK_EQ(grant_op(GNTTABOP_transfer, args), 0);
  return args.status;
}

/// Only frames that nothing but the guest's reservation uses may leave it.
void keeps_what_is_used(Page* page) {
  grant(to_ref, 7, GTF_accept_transfer);
  for (u64 frame : {others_frame(), u64{0x7fffffff}, u64{1} << 40, ~u64{0}})
    CHECK_EQ(transfer(frame, own_number(), to_ref), GNTST_bad_page);
  CHECK_EQ(transfer(mfn_of(page), own_number(), to_ref), GNTST_bad_page);
  CHECK_EQ(transfer(mfn_of(table_of(1, word(page))), own_number(), to_ref), GNTST_bad_page);
  CHECK_EQ(flags_of(to_ref), GTF_accept_transfer);
  // The frame goes first, and then it is found that nobody takes it.
  const u64 lost = mfn_of(page);
  CHECK_EQ(map(page, 0), 0);
  CHECK_EQ(transfer(lost, 77, to_ref), GNTST_bad_domain);
  CHECK_EQ(transfer(lost, own_number(), to_ref), GNTST_bad_page);
}

void gives_a_frame_to_itself(Page* page) {
  const u64 frame = mfn_of(page);
  CHECK_EQ(map(page, 0), 0);
  grant(to_ref, 7, GTF_accept_transfer);
  CHECK_EQ(transfer(frame, own_number(), to_ref), GNTST_okay);
  CHECK_EQ(flags_of(to_ref), GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed);
  CHECK_EQ(grant_table()[to_ref].frame, frame);
  CHECK_EQ(map(page, frame * page_size | data), 0);
}

}  // namespace

void test() {
  install_traps();
  Page *page = new_page(), *spare = new_page();
  copies_in_both_directions(page, spare);
  keeps_within_pages(page, spare);
  refuses_wrong_domains(page, spare);
  refuses_wrong_ends(page, spare);
  writes_no_tables(page, new_page());
  copies_what_is_in_use(page, spare);
  works_through_lists(page, spare);
  keeps_what_is_used(new_page());
  gives_a_frame_to_itself(new_page());
}
