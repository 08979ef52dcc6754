// A guest that maps and copies what it grants to itself. Xen answers in the same way, where nothing else is
// said.
#include "grants/own_grants.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u32 ref = 20, other_ref = 21, table_ref = 22;

domid_t self;

void maps_and_unmaps(Page* page) {
  grant(ref, mfn_of(page));
  page->words[5] = 0x1234;
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(mapped.dev_bus_addr, mfn_of(page) * page_size);
  CHECK_EQ(flags_of(ref), in_use);
  const u64 entry = entry_of(1, window(0));
  CHECK_EQ(entry & address_bits, mfn_of(page) * page_size);
  CHECK_EQ(entry & (present | writable | accessed | dirty), present | writable | accessed | dirty);
  CHECK_EQ(entry >> 63, 1);
  auto* seen = reinterpret_cast<volatile u64*>(window(0));
  CHECK_EQ(seen[5], 0x1234);
  seen[6] = 0x5678;
  CHECK_EQ(page->words[6], 0x5678);
  // A frame that may be written through a grant is no table.
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), einval);
  CHECK_EQ(unmap_grant(mapped.handle, window(1)), GNTST_general_error);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
  CHECK_EQ(entry_of(1, window(0)), 0);
  try_load(window(0));
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_bad_handle);
  CHECK_EQ(make_writable(page), 0);
}

void names_the_entry_itself(Page* page) {
  grant(ref, mfn_of(page), plain | GTF_readonly);
  const u64 entry = entry_address(1, window(0));
  CHECK_EQ(map_grant(ref, window(0)).status, GNTST_general_error);
  constexpr u32 flags = GNTMAP_host_map | GNTMAP_contains_pte | GNTMAP_readonly | 5U << _GNTMAP_guest_avail0;
  CHECK_EQ(map_grant(ref, entry + 4, flags).status, GNTST_general_error);
  CHECK_EQ(map_grant(ref, mfn_of(page) * page_size, flags).status, GNTST_general_error);
  const auto mapped = map_grant(ref, entry, flags);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(flags_of(ref), plain | GTF_readonly | GTF_reading);
  CHECK_EQ(entry_of(1, window(0)) & writable, 0);
  CHECK_EQ(entry_of(1, window(0)) >> 9 & 7, 5);
  try_store(window(0), 1);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, entry), GNTST_okay);
}

/// XSA-224, 394: the parts of a mapping end one by one, and each holds the frame.
void has_two_parts(Page* page) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0), GNTMAP_host_map | GNTMAP_device_map);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), einval);
  CHECK_EQ(unmap_grant(mapped.handle, 0, mapped.dev_bus_addr + page_size), GNTST_bad_dev_addr);
  CHECK_EQ(unmap_grant(mapped.handle, 0, mapped.dev_bus_addr), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), 0);
}

/// XSA-234: the entry of a read-only mapping does not end a writable one.
void tells_mappings_apart(Page* page) {
  grant(ref, mfn_of(page));
  const auto written = map_grant(ref, window(0)),
             read = map_grant(ref, window(1), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(read.status, GNTST_okay);
  CHECK_EQ(unmap_grant(written.handle, window(1)), GNTST_general_error);
  CHECK_EQ(unmap_grant(read.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(written.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain | GTF_reading);
  CHECK_EQ(unmap_grant(read.handle, window(1)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
}

void maps_tables_to_be_read_only(Page* page) {
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
  grant(table_ref, mfn_of(page));
  CHECK_EQ(map_grant(table_ref, window(0)).status, GNTST_general_error);
  const auto mapped = map_grant(table_ref, window(0), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), 0);
}

void refuses_what_is_not_granted(Page* page) {
  grant(ref, mfn_of(page));
  CHECK_EQ(map_grant(ref, window(0), GNTMAP_readonly).status, GNTST_bad_gntref);
  CHECK_EQ(map_grant(0x7fffffff, window(0)).status, GNTST_bad_gntref);
  CHECK_EQ(map_grant(ref, 0x8000000000000000).status, GNTST_general_error);
  CHECK_EQ(map_grant(ref, HYPERVISOR_VIRT_START).status, GNTST_general_error);
  for (domid_t dom : {domid_t{DOMID_SELF}, domid_t{DOMID_INVALID}, domid_t{77}}) {
    gnttab_map_grant_ref args{window(0), GNTMAP_host_map, ref, dom, 99, 0, 0};
    CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, args), 0);
    CHECK_EQ(args.status, GNTST_bad_domain);
  }
  for (u16 flags : {u16{0}, u16{GTF_accept_transfer}}) {
    grant(other_ref, mfn_of(page), flags);
    CHECK_EQ(map_grant(other_ref, window(0)).status, GNTST_general_error);
    CHECK_EQ(flags_of(other_ref), flags);
  }
  grant(other_ref, others_frame());
  CHECK_EQ(map_grant(other_ref, window(0)).status, GNTST_bad_page);
  grant(other_ref, mfn_of(page));
  grant_table()[other_ref].domid = 77;
  CHECK_EQ(map_grant(other_ref, window(0)).status, GNTST_general_error);
  CHECK_EQ(entry_of(1, window(0)), 0);
}

void replaces_mappings(Page* page, Page* spare) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(map(window(1), mfn_of(spare) * page_size | data), 0);
  const u64 moved = entry_of(1, window(1));
  gnttab_unmap_and_replace args{window(0), window(1), mapped.handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_and_replace, args), 0);
  CHECK_EQ(args.status, GNTST_okay);
  CHECK_EQ(entry_of(1, window(0)) & address_bits, moved & address_bits);
  CHECK_EQ(entry_of(1, window(1)), 0);
  CHECK_EQ(flags_of(ref), plain);
  CHECK_EQ(map(window(0), 0), 0);
}

long copy(u16 flags, u64 source, u64 dest, u16 length = 8, u16 from = 40, u16 to = 48,
          domid_t dom = DOMID_SELF) {
  return kit::copy(copy_of(flags, source, dest, length, from, to, dom));
}

void copies(Page* page, Page* spare) {
  constexpr u16 both = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  const u64 from = mfn_of(page), to = mfn_of(spare);
  grant(ref, from, plain | GTF_readonly);
  grant(other_ref, to);
  page->words[5] = 0x4321;
  CHECK_EQ(copy(0, from, to), GNTST_okay);
  CHECK_EQ(spare->words[6], 0x4321);
  spare->words[6] = 0;
  CHECK_EQ(copy(both, ref, other_ref), GNTST_okay);
  CHECK_EQ(spare->words[6], 0x4321);
  CHECK_EQ(copy(both, ref, other_ref, 8, 40, 48, self), GNTST_okay);
  CHECK_EQ(copy(both, other_ref, ref), GNTST_general_error);
  CHECK_EQ(copy(0, from, to, 8, 40, 48, self), GNTST_permission_denied);
  CHECK_EQ(copy(both, ref, other_ref, 8, 40, 48, 77), GNTST_bad_domain);
  CHECK_EQ(copy(0, from, to, 8, 4089, 0), GNTST_bad_copy_arg);
  CHECK_EQ(copy(0, from, to, 8, 0, 4089), GNTST_bad_copy_arg);
  CHECK_EQ(copy(0, from, to, 4096, 0, 0), GNTST_okay);
  CHECK_EQ(copy(0, others_frame(), to), GNTST_bad_page);
  CHECK_EQ(copy(0, from, others_frame()), GNTST_bad_page);
  CHECK_EQ(copy(both, 0x7fffffff, other_ref), GNTST_bad_gntref);
  const u64 l1 = mfn_of(table_of(1, word(page)));
  CHECK_EQ(copy(0, l1, to), GNTST_okay);
  CHECK_EQ(copy(0, from, l1), GNTST_general_error);
  CHECK_EQ(flags_of(ref), plain | GTF_readonly);
  CHECK_EQ(flags_of(other_ref), plain);
}

/// A mapping whose entry the guest clears itself can't be unmapped any more, and its grant stays in use.
void loses_a_mapping(Page* page) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(map(window(0), 0), 0);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(flags_of(ref), in_use);
  gnttab_swap_grant_ref swap{ref, other_ref, 99};
  CHECK_EQ(grant_op(GNTTABOP_swap_grant_ref, swap), 0);
  CHECK_EQ(swap.status, GNTST_eagain);
}

}  // namespace

void test() {
  install_traps();
  self = own_number();
  Page *page = new_page(), *spare = new_page();
  maps_and_unmaps(page);
  names_the_entry_itself(page);
  has_two_parts(page);
  tells_mappings_apart(page);
  maps_tables_to_be_read_only(new_page());
  refuses_what_is_not_granted(page);
  replaces_mappings(page, spare);
  copies(page, spare);
  loses_a_mapping(page);
}
