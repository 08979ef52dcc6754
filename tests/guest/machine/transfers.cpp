// Two guests of one machine, of which one gives frames to the other for good (GNTTABOP_transfer). The second
// to be named gives: what the first does not accept, what is in use, and what is accepted, with something in
// it.
#include <xen/memory.h>

#include "machine/attacks.hpp"

using namespace kit;
using meeting::hear;
using meeting::meet;

namespace {

constexpr u32 open_ref = 20, closed_ref = 21, full_ref = 22, thirds_ref = 23, own_ref = 24;
constexpr u64 place = 0x321;
constexpr u16 complete = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed;

/// What the machine-to-phys table says of a frame.
u64 place_of(u64 frame) {
  xen_machphys_mapping table{};
  CHECK_EQ(memory_op(XENMEM_machphys_mapping, table), 0);
  return reinterpret_cast<const volatile u64*>(table.v_start)[frame];
}

/// A frame of the guest's memory that nothing maps: the last ones, counted from the end.
u64 spare_frame(u64 which) {
  return reinterpret_cast<const u64*>(info->mfn_list)[info->nr_pages - 1 - which];
}
u64 frame_of_entry(u32 ref) { return grant_table()[ref].frame; }

long transfer(u64 frame, u32 ref, u32 to = other()) {
  gnttab_transfer args{frame, static_cast<domid_t>(to), ref, 99};
  CHECK_EQ(grant_op(GNTTABOP_transfer, args), 0);
  return args.status;
}
long frames_owned() {
  domid_t id = DOMID_SELF;
  return memory_op(XENMEM_current_reservation, id);
}
/// Makes room for `count` frames.
void give_back(u64 count) {
  for (u64 i = 0; i < count; ++i) {
    u64 frame = spare_frame(i);
    xen_memory_reservation given{};
    given.extent_start.p = &frame;
    given.nr_extents = 1;
    given.domid = DOMID_SELF;
    CHECK_EQ(memory_op(XENMEM_decrease_reservation, given), 1);
  }
}

void receive() {
  grant(open_ref, place, GTF_accept_transfer);
  grant(closed_ref, place, granted);
  grant(full_ref, place, GTF_accept_transfer);
  grant(thirds_ref, place, GTF_accept_transfer, 77);
  const long before = frames_owned();
  meet("full");
  meet("tried");
  CHECK_EQ(flags_of(full_ref), GTF_accept_transfer);  // there was no room
  CHECK_EQ(frames_owned(), before);
  give_back(2);
  meet("room");
  meet("given");
  CHECK_EQ(flags_of(open_ref), complete);
  CHECK_EQ(flags_of(closed_ref), granted);
  CHECK_EQ(flags_of(thirds_ref), GTF_accept_transfer);
  CHECK_EQ(frames_owned(), before - 1);
  const u64 frame = frame_of_entry(open_ref);
  CHECK_EQ(place_of(frame), place);
  // It is a frame like any other, with what was in it.
  CHECK_EQ(map(window(0), frame * page_size | data), 0);
  auto* page = reinterpret_cast<Page*>(window(0));
  CHECK_EQ(page->words[5], secret);
  page->words[5] = 0;
  CHECK_EQ(map(window(0), frame * page_size | present), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, frame), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, frame), 0);
  CHECK_EQ(map(window(0), 0), 0);
  meeting::tell("seen", 1);
  // What it has told goes with it: it ends after the giver.
  constexpr u64 patience = 90'000'000'000;
  const u64 end = now_ns() + patience;
  const auto giver_is_there = [] {
    return try_map(0, window(0), GNTMAP_device_map).status != GNTST_bad_domain;
  };
  while (giver_is_there() && now_ns() < end) nap();
  CHECK(!giver_is_there());
}

void give() {
  static Page* const page = new_page();
  const u64 frame = spare_frame(0);
  CHECK_EQ(map(window(0), frame * page_size | data), 0);
  reinterpret_cast<volatile Page*>(window(0))->words[5] = secret;
  meet("full");
  const long before = frames_owned();
  CHECK_EQ(transfer(spare_frame(1), full_ref), GNTST_general_error);
  CHECK_EQ(frames_owned(), before - 1);  // lost, as on Xen
  meet("tried");
  meet("room");
  // What is in use does not leave, nor what is not its own.
  const u64 root = mfn_of(reinterpret_cast<void*>(info->pt_base));
  for (const u64 used : {frame, root, mfn_of(page), info->shared_info / page_size, 0UL, ~0UL, 1UL << 40})
    CHECK_EQ(transfer(used, open_ref), GNTST_bad_page);
  CHECK_EQ(transfer(spare_frame(2), closed_ref), GNTST_general_error);
  CHECK_EQ(transfer(spare_frame(3), thirds_ref), GNTST_general_error);
  CHECK_EQ(transfer(spare_frame(4), 0x7fffffff), GNTST_general_error);
  CHECK_EQ(transfer(spare_frame(5), open_ref, 77), GNTST_bad_domain);
  CHECK_EQ(transfer(spare_frame(6), open_ref, DOMID_SELF), GNTST_bad_domain);
  CHECK_EQ(frames_owned(), before - 6);
  CHECK_EQ(map(window(0), 0), 0);
  CHECK_EQ(transfer(frame, open_ref), GNTST_okay);
  CHECK_EQ(transfer(spare_frame(7), open_ref), GNTST_general_error);  // it takes one
  CHECK_EQ(transfer(frame, open_ref), GNTST_bad_page);
  // To itself: the frame gets another place.
  grant(own_ref, place, GTF_accept_transfer, self());
  CHECK_EQ(transfer(spare_frame(8), own_ref, self()), GNTST_okay);
  CHECK_EQ(flags_of(own_ref), complete);
  CHECK_EQ(frame_of_entry(own_ref), spare_frame(8));
  CHECK_EQ(place_of(spare_frame(8)), place);
  meet("given");
  attacks(frame);
  hear("seen");
  attacks(frame);
}

}  // namespace

void test() {
  install_traps();
  meeting::leads() ? receive() : give();
  say("done");
}
