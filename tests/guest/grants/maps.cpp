// Mapping grants, and ending that: what each wrong argument and each state of an entry is answered with. The
// answers are those of Xen 4.17, where the guest runs as domain 0; guest.xsa.grants has more.
#include "grants/own_grants.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u32 ref = 20, other_ref = 21, entries_per_frame = 512;
constexpr u32 host = GNTMAP_host_map, device = GNTMAP_device_map, for_reading = GNTMAP_readonly,
              by_entry = GNTMAP_contains_pte;
/// Xen's marks of an entry for the guest's programs, or its kernel, which runs at the same privilege level.
constexpr u64 global = 0x100, guest_kernel = 1ULL << 52;

u64 bus_of(Page* page) { return mfn_of(page) * page_size; }
u64 leaf(u64 n) { return entry_of(1, window(n)); }

/// Each kind of mapping: what stands in the entry, and which marks the grant has.
void maps_in_each_way(Page* page) {
  struct Way {
    u32 flags;
    u16 marks;
  };
  constexpr u16 read = GTF_reading, write = GTF_reading | GTF_writing;
  for (const Way way : {Way{host, write},
                        {host | for_reading, read},
                        {device, write},
                        {device | for_reading, read},
                        {host | device, write},
                        {host | device | for_reading, read},
                        {host | GNTMAP_application_map, write}}) {
    grant(ref, mfn_of(page));
    const auto mapped = map_grant(ref, window(0), way.flags);
    CHECK_EQ(mapped.status, GNTST_okay);
    CHECK_EQ(mapped.dev_bus_addr, bus_of(page));
    CHECK_EQ(flags_of(ref), plain | way.marks);
    u64 expected = 0;
    if ((way.flags & host) != 0) expected = bus_of(page) | present | accessed | dirty | 1ULL << 63;
    if ((way.flags & host) != 0 && (way.flags & for_reading) == 0) expected |= writable;
    if ((way.flags & host) != 0)
      expected |= (way.flags & GNTMAP_application_map) != 0 ? user | global : user | guest_kernel;
    CHECK_EQ(leaf(0), expected);
    if ((way.flags & device) != 0) CHECK_EQ(unmap_grant(mapped.handle, 0, bus_of(page)), GNTST_okay);
    if ((way.flags & host) != 0) CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
    CHECK_EQ(flags_of(ref), plain);
    CHECK_EQ(leaf(0), 0);
    CHECK_EQ(unmap_grant(mapped.handle, window(0), bus_of(page)), GNTST_bad_handle);
  }
}

/// Both parts may end in one operation, which does nothing if one of the addresses is wrong.
void ends_both_parts_at_once(Page* page) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0), host | device);
  CHECK_EQ(unmap_grant(mapped.handle, window(0), bus_of(page) + 8), GNTST_bad_dev_addr);
  CHECK_EQ(unmap_grant(mapped.handle, window(1), bus_of(page)), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, 0, 0), GNTST_okay);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(unmap_grant(mapped.handle, window(0), bus_of(page)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
}

/// A part that was not mapped is not looked at.
void ignores_addresses_of_parts_that_are_not_there(Page* page) {
  grant(ref, mfn_of(page));
  const auto by_host = map_grant(ref, window(0), host);
  CHECK_EQ(unmap_grant(by_host.handle, 0, 0x5000), GNTST_okay);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(unmap_grant(by_host.handle, window(0), 0x5000), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
  const auto by_device = map_grant(ref, 0, device);
  CHECK_EQ(by_device.status, GNTST_okay);
  CHECK_EQ(unmap_grant(by_device.handle, window(5)), GNTST_okay);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(unmap_grant(by_device.handle, window(5), bus_of(page)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
}

void refuses_wrong_places(Page* page) {
  grant(ref, mfn_of(page));
  for (u64 where :
       {u64{0}, u64{1} << 63, u64{HYPERVISOR_VIRT_START}, u64{0xffff900000000000}, u64{0x500000000000}})
    CHECK_EQ(map_grant(ref, where).status, GNTST_general_error);
  CHECK_EQ(flags_of(ref), plain);
  const u64 entry = entry_address(1, window(0));
  for (u64 where :
       {entry + 1, entry + 4, bus_of(page), entry_address(2, window(0)), others_frame() * page_size, ~u64{7}})
    CHECK_EQ(map_grant(ref, where, host | by_entry).status, GNTST_general_error);
  CHECK_EQ(flags_of(ref), plain);
  // An address within the page is as good as the page's.
  const auto within = map_grant(ref, window(0) + 0x123);
  CHECK_EQ(within.status, GNTST_okay);
  CHECK_EQ(unmap_grant(within.handle, window(0) + 0xff8), GNTST_okay);
  CHECK_EQ(leaf(0), 0);
}

/// What was mapped at the place before is let go.
void maps_over_what_is_there(Page* page, Page* spare) {
  CHECK_EQ(map(window(0), mfn_of(spare) * page_size | data), 0);
  CHECK_EQ(make_read_only(spare), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(spare)), einval);
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(spare)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(spare)), 0);
  CHECK_EQ(make_writable(spare), 0);
  // A second mapping over the first: the first can't be found any more.
  const auto second = map_grant(ref, window(0), host | for_reading);
  CHECK_EQ(second.status, GNTST_okay);
  CHECK(second.handle != mapped.handle);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(second.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
}

void refuses_wrong_grants(Page* page, u32 fresh) {
  grant(fresh, mfn_of(page));
  for (u32 flags : {0U, for_reading, by_entry | for_reading, 0xffff0000U, 0xffffffe8U & ~by_entry})
    CHECK_EQ(map_grant(fresh, window(0), flags).status, GNTST_bad_gntref);
  for (u32 wrong : {64 * entries_per_frame, 0x7fffffffU, 0x80000000U + fresh, 0xffffffffU})
    CHECK_EQ(map_grant(wrong, window(0)).status, GNTST_bad_gntref);
  for (domid_t dom : {domid_t{DOMID_SELF}, domid_t{77}, domid_t{DOMID_IO}, domid_t{DOMID_XEN},
                      domid_t{DOMID_COW}, domid_t{DOMID_INVALID}})
    CHECK_EQ(map_grant(fresh, window(0), host, dom).status, GNTST_bad_domain);
  // The first that is wrong decides: flags, domain, reference.
  CHECK_EQ(map_grant(0xffffffff, 0, 0, 77).status, GNTST_bad_gntref);
  CHECK_EQ(map_grant(0xffffffff, 0, host, 77).status, GNTST_bad_domain);
  CHECK_EQ(flags_of(fresh), plain);
}

void refuses_wrong_entries(Page* page, u32 fresh) {
  constexpr u16 of_each_type[] = {GTF_invalid, GTF_accept_transfer, GTF_transitive, plain | GTF_sub_page,
                                  GTF_accept_transfer | GTF_transfer_committed};
  for (u16 flags : of_each_type) {
    grant(fresh, mfn_of(page), flags);
    CHECK_EQ(map_grant(fresh, window(0)).status, GNTST_general_error);
    CHECK_EQ(map_grant(fresh, window(0), host | for_reading).status, GNTST_general_error);
    CHECK_EQ(flags_of(fresh), flags);
  }
  for (domid_t dom : {domid_t{77}, domid_t{DOMID_SELF}, domid_t{DOMID_INVALID}}) {
    grant(fresh, mfn_of(page), plain, dom);
    CHECK_EQ(map_grant(fresh, window(0)).status, GNTST_general_error);
  }
  for (u64 frame : {others_frame(), u64{0x7fffffff}, u64{0xffffffff}}) {
    grant(fresh, frame);
    CHECK_EQ(map_grant(fresh, window(0)).status, GNTST_bad_page);
    CHECK_EQ(map_grant(fresh, 0, device).status, GNTST_bad_page);
    CHECK_EQ(flags_of(fresh), plain);
  }
  grant(fresh, mfn_of(page), plain | GTF_readonly);
  CHECK_EQ(map_grant(fresh, window(0)).status, GNTST_general_error);
  CHECK_EQ(map_grant(fresh, 0, device).status, GNTST_general_error);
  CHECK_EQ(flags_of(fresh), plain | GTF_readonly);
  // Marks that the guest makes itself count for nothing, and the end of a mapping takes away its own.
  grant(fresh, mfn_of(page), in_use);
  const auto mapped = map_grant(fresh, window(0), host | for_reading);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(flags_of(fresh), in_use);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(fresh), plain | GTF_writing);
  // Cache attributes are for frames of devices.
  grant(fresh, mfn_of(page), plain | GTF_PCD | GTF_PWT);
  const auto cached = map_grant(fresh, window(0));
  CHECK_EQ(cached.status, GNTST_okay);
  CHECK_EQ(leaf(0) & 0x98, 0);
  CHECK_EQ(unmap_grant(cached.handle, window(0)), GNTST_okay);
}

/// A page table may be mapped for reading only, and a frame that is granted for writing to a device can't
/// become one.
void keeps_tables_read_only(Page* table, u32 fresh) {
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  grant(fresh, mfn_of(table));
  CHECK_EQ(map_grant(fresh, window(0)).status, GNTST_general_error);
  CHECK_EQ(map_grant(fresh, 0, device).status, GNTST_general_error);
  CHECK_EQ(flags_of(fresh), plain);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  const auto mapped = map_grant(fresh, 0, device);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), einval);
  CHECK_EQ(unmap_grant(mapped.handle, 0, bus_of(table)), GNTST_okay);
  CHECK_EQ(make_writable(table), 0);
}

/// What the guest changes in an entry that is in use counts only for a use that needs more.
void keeps_what_is_in_use(Page* page, Page* spare, u32 fresh) {
  grant(fresh, mfn_of(page));
  const auto first = map_grant(fresh, window(0), host | for_reading);
  CHECK_EQ(first.status, GNTST_okay);
  grant(fresh, mfn_of(spare), GTF_reading, 77);
  const auto second = map_grant(fresh, window(1), host | for_reading);
  CHECK_EQ(second.status, GNTST_okay);
  CHECK_EQ(leaf(1) & address_bits, bus_of(page));
  // For writing the entry is asked, but its type and domain are settled.
  const auto third = map_grant(fresh, window(2));
  CHECK_EQ(third.status, GNTST_okay);
  CHECK_EQ(leaf(2) & address_bits, bus_of(page));
  CHECK_EQ(flags_of(fresh), GTF_reading | GTF_writing);
  CHECK_EQ(unmap_grant(third.handle, window(2)), GNTST_okay);
  grant(fresh, mfn_of(spare), plain | GTF_reading | GTF_readonly);
  CHECK_EQ(map_grant(fresh, window(2)).status, GNTST_general_error);
  CHECK_EQ(unmap_grant(first.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(fresh), plain | GTF_reading | GTF_readonly);
  CHECK_EQ(unmap_grant(second.handle, window(1)), GNTST_okay);
  CHECK_EQ(flags_of(fresh), plain | GTF_readonly);
}

void replaces(Page* page, Page* spare, u32 fresh) {
  grant(fresh, mfn_of(page));
  auto mapped = map_grant(fresh, window(0));
  CHECK_EQ(map(window(1), bus_of(spare) | data), 0);
  const u64 moved = leaf(1);
  CHECK_EQ(replace_grant(0x7fffffff, window(0), window(1)), GNTST_bad_handle);
  CHECK_EQ(replace_grant(mapped.handle, 0, window(1)), GNTST_okay);
  CHECK_EQ(replace_grant(mapped.handle, window(0), HYPERVISOR_VIRT_START), GNTST_general_error);
  CHECK_EQ(leaf(1), moved);
  // An attempt at the wrong place has taken the new entry away already.
  for (u64 wrong : {window(2), u64{HYPERVISOR_VIRT_START}}) {
    CHECK_EQ(replace_grant(mapped.handle, wrong, window(1)), GNTST_general_error);
    CHECK_EQ(leaf(1), 0);
    CHECK_EQ(map(window(1), bus_of(spare) | data), 0);
  }
  CHECK_EQ(flags_of(fresh), in_use);
  CHECK_EQ(replace_grant(mapped.handle, window(0), window(1)), GNTST_okay);
  CHECK_EQ(leaf(0), moved);
  CHECK_EQ(leaf(1), 0);
  CHECK_EQ(flags_of(fresh), plain);
  CHECK_EQ(replace_grant(mapped.handle, window(0), window(1)), GNTST_bad_handle);
  CHECK_EQ(map(window(0), 0), 0);
  // By nothing, whether that is no address or one at which nothing is mapped.
  for (u64 by : {u64{0}, window(3)}) {
    mapped = map_grant(fresh, window(0));
    CHECK_EQ(replace_grant(mapped.handle, window(0), by), GNTST_okay);
    CHECK_EQ(leaf(0), 0);
    CHECK_EQ(flags_of(fresh), plain);
  }
  // An entry that was named by its own address.
  const u64 entry = entry_address(1, window(0));
  mapped = map_grant(fresh, entry, host | by_entry);
  CHECK_EQ(replace_grant(mapped.handle, entry, window(1)), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, entry + 8), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, entry), GNTST_okay);
  CHECK_EQ(leaf(0), 0);
}

/// So the mapping is gone, and its grant stays in use.
void loses_a_mapping_that_replaces_itself(Page* page, u32 fresh) {
  grant(fresh, mfn_of(page));
  const auto mapped = map_grant(fresh, window(0));
  CHECK_EQ(replace_grant(mapped.handle, window(0), window(0)), GNTST_general_error);
  CHECK_EQ(leaf(0), 0);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(flags_of(fresh), in_use);
}

void refuses_wrong_handles(Page* page, u32 fresh) {
  for (u32 handle : {255U, 0x10000U, 0x7fffffffU, 0xffffffffU}) {
    CHECK_EQ(unmap_grant(handle, window(0)), GNTST_bad_handle);
    CHECK_EQ(replace_grant(handle, window(0), window(1)), GNTST_bad_handle);
  }
  // A handle that is given again ends the new mapping, not the old one.
  grant(fresh, mfn_of(page));
  const auto first = map_grant(fresh, window(0));
  CHECK_EQ(unmap_grant(first.handle, window(0)), GNTST_okay);
  const auto second = map_grant(fresh, window(1));
  CHECK_EQ(unmap_grant(first.handle, window(0)),
           first.handle == second.handle ? GNTST_general_error : GNTST_bad_handle);
  CHECK_EQ(unmap_grant(second.handle, window(1)), GNTST_okay);
}

/// In a list each operation has its own status, and one that fails ends nothing.
void works_through_lists(Page* page, u32 fresh) {
  grant(fresh, mfn_of(page));
  gnttab_map_grant_ref maps[3]{};
  for (u64 i = 0; i < 3; ++i)
    maps[i] = {window(i), host, i == 1 ? 0x7fffffff : fresh, own_number(), 99, 0, 0};
  CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, maps[0], 3), 0);
  CHECK_EQ(maps[0].status, GNTST_okay);
  CHECK_EQ(maps[1].status, GNTST_bad_gntref);
  CHECK_EQ(maps[2].status, GNTST_okay);
  gnttab_unmap_grant_ref unmaps[3]{};
  for (u64 i = 0; i < 3; ++i) unmaps[i] = {window(i), 0, i == 1 ? 0x7fffffff : maps[i].handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_grant_ref, unmaps[0], 3), 0);
  CHECK_EQ(unmaps[0].status, GNTST_okay);
  CHECK_EQ(unmaps[1].status, GNTST_bad_handle);
  CHECK_EQ(unmaps[2].status, GNTST_okay);
  CHECK_EQ(flags_of(fresh), plain);
}

}  // namespace

void test() {
  install_traps();
  Page *page = new_page(), *spare = new_page();
  maps_in_each_way(page);
  ends_both_parts_at_once(page);
  ignores_addresses_of_parts_that_are_not_there(page);
  refuses_wrong_places(page);
  maps_over_what_is_there(page, spare);  // and leaves a use of `ref` behind
  refuses_wrong_grants(page, other_ref);
  refuses_wrong_entries(page, other_ref);
  keeps_tables_read_only(new_page(), other_ref);
  keeps_what_is_in_use(page, spare, other_ref);
  replaces(page, spare, other_ref);
  refuses_wrong_handles(page, other_ref);
  works_through_lists(page, other_ref);
  loses_a_mapping_that_replaces_itself(page, other_ref);
}
