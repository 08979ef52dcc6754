// The operations on a guest's grant table as a whole: its size, its frames, its version, and swaps of
// entries. The answers are those of Xen 4.17, where the guest runs as domain 0 (--append says how many frames
// a table may have, if that is not Xen's 64).
#include "grants/own_grants.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u32 ref = 20, other_ref = 21, entries_per_frame = 512;
constexpr domid_t nobody[] = {77, DOMID_IO, DOMID_XEN, DOMID_INVALID, 0x7fee};
/// In the part of the address space that is the hypervisor's.
constexpr u64 forbidden = HYPERVISOR_VIRT_START;

u64 frames_at_most() { return number_behind("frames=", 64); }

long raw(u64 op, u64 args, u64 count) { return hypercall(__HYPERVISOR_grant_table_op, op, args, count); }

/// Before the guest has asked for its table.
void has_a_table_from_the_start() {
  gnttab_query_size size{DOMID_SELF, 77, 77, 99};
  CHECK_EQ(grant_op(GNTTABOP_query_size, size), 0);
  CHECK_EQ(size.status, GNTST_okay);
  CHECK_EQ(size.max_nr_frames, frames_at_most());
  CHECK_EQ(swap_grants(ref, other_ref), GNTST_okay);
  CHECK_EQ(map_grant(ref, window(0)).status, GNTST_general_error);
}

void tells_its_size() {
  gnttab_query_size size{own_number(), 77, 77, 99};
  CHECK_EQ(grant_op(GNTTABOP_query_size, size), 0);
  CHECK_EQ(size.status, GNTST_okay);
  CHECK(size.nr_frames >= 1 && size.nr_frames < 9);
  for (domid_t dom : nobody) {
    gnttab_query_size other{dom, 77, 77, 99};
    CHECK_EQ(grant_op(GNTTABOP_query_size, other), 0);
    CHECK_EQ(other.status, GNTST_bad_domain);
    CHECK_EQ(other.nr_frames, 77);
  }
  CHECK_EQ(grant_op(GNTTABOP_query_size, size, 0), einval);
  CHECK_EQ(grant_op(GNTTABOP_query_size, size, 2), einval);
  CHECK_EQ(raw(GNTTABOP_query_size, window(0), 1), efault);
}

long set_up(domid_t dom, u32 frames, u64 list, u32 count = 1) {
  gnttab_setup_table args{};
  args.dom = dom;
  args.nr_frames = frames;
  args.frame_list.p = reinterpret_cast<u64*>(list);
  args.status = 99;
  const long rax = grant_op(GNTTABOP_setup_table, args, count);
  return rax != 0 ? rax : args.status;
}

void sets_up_its_table() {
  static u64 list[64], again[64];
  CHECK_EQ(set_up(own_number(), 2, word(list)), GNTST_okay);
  CHECK(list[0] != list[1]);
  CHECK_EQ(set_up(DOMID_SELF, 9, word(again)), GNTST_okay);
  CHECK(again[0] == list[0] && again[1] == list[1] && again[8] != again[1]);
  gnttab_query_size size{DOMID_SELF, 0, 0, 99};
  CHECK_EQ(grant_op(GNTTABOP_query_size, size), 0);
  CHECK_EQ(size.nr_frames, 9);
  CHECK_EQ(set_up(DOMID_SELF, 0, word(list)), GNTST_okay);
  CHECK_EQ(set_up(DOMID_SELF, static_cast<u32>(frames_at_most()) + 1, word(list)), GNTST_general_error);
  CHECK_EQ(set_up(DOMID_SELF, 0xffffffff, word(list)), GNTST_general_error);
  for (domid_t dom : nobody) CHECK_EQ(set_up(dom, 1, word(list)), GNTST_bad_domain);
  CHECK_EQ(set_up(DOMID_SELF, 1, window(0)), GNTST_bad_virt_addr);
  CHECK_EQ(set_up(DOMID_SELF, 1, forbidden), efault);
  CHECK_EQ(set_up(77, 1, forbidden), efault);
  CHECK_EQ(set_up(DOMID_SELF, 0xffffffff, forbidden), efault);
  CHECK_EQ(set_up(DOMID_SELF, 1, word(list), 0), einval);
  CHECK_EQ(set_up(DOMID_SELF, 1, word(list), 2), einval);
  CHECK_EQ(raw(GNTTABOP_setup_table, window(0), 1), efault);
}

void has_version_1() {
  gnttab_set_version set{1};
  CHECK_EQ(grant_op(GNTTABOP_set_version, set), 0);
  for (u32 wrong : {0U, 3U, 0x80000001U}) {
    set.version = wrong;
    CHECK_EQ(grant_op(GNTTABOP_set_version, set), einval);
    CHECK_EQ(set.version, 1);
  }
  // The count is not looked at.
  CHECK_EQ(grant_op(GNTTABOP_set_version, set, 0), 0);
  CHECK_EQ(grant_op(GNTTABOP_set_version, set, 7), 0);
  CHECK_EQ(raw(GNTTABOP_set_version, window(0), 1), efault);
  for (domid_t dom : {domid_t{DOMID_SELF}, own_number()}) {
    gnttab_get_version get{dom, 0, 77};
    CHECK_EQ(grant_op(GNTTABOP_get_version, get), 0);
    CHECK_EQ(get.version, 1);
  }
  for (domid_t dom : nobody) {
    gnttab_get_version get{dom, 0, 77};
    CHECK_EQ(grant_op(GNTTABOP_get_version, get), esrch);
    CHECK_EQ(get.version, 77);
  }
  gnttab_get_version get{DOMID_SELF, 0, 77};
  CHECK_EQ(grant_op(GNTTABOP_get_version, get, 0), 0);
  CHECK_EQ(raw(GNTTABOP_get_version, window(0), 1), efault);
}

/// They are version 2's.
void has_no_status_frames() {
  static u64 list[4];
  const auto ask = [](domid_t dom, u32 frames, u64 where, u32 count = 1) -> long {
    gnttab_get_status_frames args{};
    args.dom = dom;
    args.nr_frames = frames;
    args.frame_list.p = reinterpret_cast<u64*>(where);
    args.status = 99;
    const long rax = grant_op(GNTTABOP_get_status_frames, args, count);
    return rax != 0 ? rax : args.status;
  };
  CHECK_EQ(ask(DOMID_SELF, 0, word(list)), GNTST_okay);
  CHECK_EQ(ask(DOMID_SELF, 1, word(list)), GNTST_general_error);
  CHECK_EQ(ask(own_number(), 0xffffffff, word(list)), GNTST_general_error);
  for (domid_t dom : nobody) CHECK_EQ(ask(dom, 0, word(list)), GNTST_bad_domain);
  CHECK_EQ(ask(DOMID_SELF, 1, forbidden), efault);
  CHECK_EQ(ask(DOMID_SELF, 0, word(list), 0), einval);
  CHECK_EQ(ask(DOMID_SELF, 0, word(list), 2), einval);
}

void swaps_entries(Page* page) {
  grant(ref, mfn_of(page));
  grant(other_ref, 0x1234, GTF_readonly | plain, 77);
  CHECK_EQ(swap_grants(ref, other_ref), GNTST_okay);
  CHECK_EQ(grant_table()[other_ref].frame, mfn_of(page));
  CHECK_EQ(grant_table()[ref].domid, 77);
  CHECK_EQ(flags_of(ref), GTF_readonly | plain);
  CHECK_EQ(swap_grants(ref, 9 * entries_per_frame), GNTST_bad_gntref);
  CHECK_EQ(swap_grants(0xffffffff, ref), GNTST_bad_gntref);
  CHECK_EQ(swap_grants(9 * entries_per_frame, 9 * entries_per_frame), GNTST_bad_gntref);
  CHECK_EQ(swap_grants(0, 9 * entries_per_frame - 1), GNTST_okay);
  const auto mapped = map_grant(other_ref, window(0), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(swap_grants(ref, other_ref), GNTST_eagain);
  CHECK_EQ(swap_grants(other_ref, ref), GNTST_eagain);
  CHECK_EQ(swap_grants(other_ref, other_ref), GNTST_okay);  // no swap at all
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(swap_grants(ref, other_ref), GNTST_okay);
  CHECK_EQ(raw(GNTTABOP_swap_grant_ref, window(0), 1), efault);
  CHECK_EQ(raw(GNTTABOP_swap_grant_ref, forbidden, 1), efault);
}

void knows_its_operations() {
  for (u64 op : {0ULL, 1ULL, 4ULL, 5ULL, 7ULL, 11ULL}) {
    CHECK_EQ(raw(op, 0, 0), 0);
    CHECK_EQ(raw(op, window(0), 1), efault);
    CHECK_EQ(raw(op, forbidden, 1), efault);
    CHECK_EQ(raw(op, 0, 0x80000000), einval);
    CHECK_EQ(raw(op, 0, 0xffffffff), einval);
    // Xen keeps the state of an interrupted cache_flush in the bits from 12 on.
    CHECK_EQ(raw(op | 0x1000, 0, 0), einval);
  }
  for (u64 op : {3ULL, 13ULL, 0xfffULL}) CHECK_EQ(raw(op, 0, 0), enosys);
  for (u64 op : {0x100dULL, 0xffffffffULL}) CHECK_EQ(raw(op, 0, 0), einval);
  CHECK_EQ(raw(99, 0, 0x80000000), einval);
  // On Xen this flushes caches. No PV guest on x86 has a use for it.
  if (!is_dom0()) CHECK_EQ(raw(GNTTABOP_cache_flush, 0, 0), enosys);
}

}  // namespace

void test() {
  install_traps();
  has_a_table_from_the_start();
  tells_its_size();
  sets_up_its_table();
  has_version_1();
  has_no_status_frames();
  swaps_entries(new_page());
  knows_its_operations();
}
