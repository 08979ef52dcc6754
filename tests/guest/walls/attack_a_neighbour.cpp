// Tries everything that a hypercall can do with each of a neighbour's frames, none of which is granted.
#include "kit/neighbour.hpp"
#include "machine/attacks.hpp"

using namespace kit;

namespace {

/// No reference reaches a frame that nobody granted: neither those that the neighbour never used, nor one
/// that it granted for something else.
void no_reference_reaches_it() {
  for (u32 ref = 0; ref < 600; ++ref) {
    if (ref == mailbox_ref || ref == secret_ref) continue;
    const auto mapped = try_map(ref, window(6), GNTMAP_host_map | GNTMAP_readonly);
    CHECK_EQ(mapped.status, ref < 512 ? GNTST_general_error : GNTST_bad_gntref);
    gnttab_copy args{};
    args.flags = GNTCOPY_source_gref;
    args.source.u.ref = ref;
    args.source.domid = other();
    args.dest.domid = DOMID_SELF;
    args.dest.u.gmfn = mfn_of(reinterpret_cast<void*>(info->pt_base));
    args.len = 8;
    CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
    CHECK_EQ(args.status, ref < 512 ? GNTST_general_error : GNTST_bad_gntref);
  }
}

/// By its number, in the name of the neighbour.
void no_frame_is_copied_by_number(u64 frame) {
  static Page* const page = new_page();
  for (const bool reads : {true, false}) {
    gnttab_copy args{};
    auto& theirs = reads ? args.source : args.dest;
    auto& ours = reads ? args.dest : args.source;
    ours.domid = DOMID_SELF;
    ours.u.gmfn = mfn_of(page);
    theirs.domid = other();
    theirs.u.gmfn = frame;
    args.len = 4096;
    CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
    CHECK_EQ(args.status, GNTST_permission_denied);
  }
  for (const u64 got : page->words) CHECK_EQ(got, 0);
}

}  // namespace

void test() {
  install_traps();
  (void)neighbours_frame();
  for (const u64 frame : mailbox->frames) {
    attacks(frame);
    no_frame_is_copied_by_number(frame);
  }
  no_reference_reaches_it();
  say("nothing reached the neighbour");
}
