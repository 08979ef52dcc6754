// Asks for every entry of a neighbour's grant table, for writing. Only two of them are for this guest. Others
// name page tables of the neighbour's, for somebody else, or were never written.
#include "kit/neighbour.hpp"
#include "machine/grants.hpp"

using namespace kit;

namespace {

/// What the monitor itself is permitted: the pages of the console and of the store (xen/grant_table.h,
/// GNTTAB_RESERVED_*).
constexpr u32 reserved_refs = GNTTAB_RESERVED_XENSTORE + 1;
constexpr u32 refs_of_a_frame = 512;

bool is_mine(u32 ref) { return ref == mailbox_ref || ref == secret_ref; }

long copied_to(u32 ref) {
  static Page* const page = new_page();
  gnttab_copy args{};
  args.flags = GNTCOPY_dest_gref;
  args.source.domid = DOMID_SELF;
  args.source.u.gmfn = mfn_of(page);
  args.dest.domid = other();
  args.dest.u.ref = ref;
  args.len = 4096;
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  return args.status;
}

}  // namespace

void test() {
  install_traps();
  (void)neighbours_frame();
  for (u32 ref = reserved_refs; ref < refs_of_a_frame + 8; ++ref) {
    if (is_mine(ref)) continue;
    CHECK(try_map(ref, window(6)).status < 0);
    CHECK(try_map(ref, window(6), GNTMAP_device_map).status < 0);
    CHECK(copied_to(ref) < 0);
  }
  // By one of these it gets what it must not write, unless the entry says whose it is.
  const bool ignored =
      try_map(table_ref, window(6), GNTMAP_device_map | GNTMAP_readonly).status == GNTST_okay;
  say(ignored ? "the entry is ignored" : "the entry stands");
  // What it may, it can.
  CHECK_EQ(copied_to(secret_ref), 0);
  say("nothing was reached by a forged grant");
}
