// A guest that maps what it granted to itself.
#include "grant_table_fixture.hpp"

namespace pinfold::devices {
namespace {

constexpr std::uint16_t plain = GTF_permit_access, read_only = GTF_permit_access | GTF_readonly;
constexpr std::uint16_t reading = plain | GTF_reading, writing = reading | GTF_writing;
constexpr std::uint64_t here = FakeGrantTarget::first_entry, there = here + 8;

class GrantMaps : public GrantTableTest {
 protected:
  GrantMaps() { EXPECT_EQ(setup(1), GNTST_okay); }

  gnttab_map_grant_ref map(std::uint32_t ref, std::uint32_t flags = GNTMAP_host_map, std::uint64_t at = here,
                           std::uint16_t dom = 1) {
    gnttab_map_grant_ref args{};
    args.host_addr = at;
    args.flags = flags;
    args.ref = ref;
    args.dom = dom;
    EXPECT_EQ(call(GNTTABOP_map_grant_ref, args), 0);
    return args;
  }
  std::int16_t unmap(std::uint32_t handle, std::uint64_t at = here, std::uint64_t bus = 0) {
    gnttab_unmap_grant_ref args{at, bus, handle, 99};
    EXPECT_EQ(call(GNTTABOP_unmap_grant_ref, args), 0);
    return args.status;
  }
  std::int16_t replace(std::uint32_t handle, std::uint64_t from, std::uint64_t at = here) {
    gnttab_unmap_and_replace args{at, from, handle, 99};
    EXPECT_EQ(call(GNTTABOP_unmap_and_replace, args), 0);
    return args.status;
  }
};

TEST_F(GrantMaps, a_mapping_holds_the_frame_and_marks_the_grant_until_it_is_unmapped) {
  grant(9, plain, 1, 7);
  const auto mapped = map(9);
  ASSERT_EQ(mapped.status, GNTST_okay);
  EXPECT_EQ(mapped.dev_bus_addr, 7U << 12);
  EXPECT_EQ(flags(9), writing);
  EXPECT_EQ(target.users_of(7), 1U);
  EXPECT_EQ(target.entries.at(here).frame, Mfn(7));
  EXPECT_TRUE(target.entries.at(here).writable);
  EXPECT_FALSE(target.last.is_machine_address);
  EXPECT_EQ(unmap(mapped.handle), GNTST_okay);
  EXPECT_EQ(flags(9), plain);
  EXPECT_EQ(target.users_of(7), 0U);
  EXPECT_TRUE(target.entries.empty());
  EXPECT_EQ(target.flushes, 1);
  EXPECT_EQ(unmap(mapped.handle), GNTST_bad_handle);
}

TEST_F(GrantMaps, the_flags_say_what_the_entry_may_do_and_how_it_is_named) {
  grant(9, read_only, 1, 7);
  EXPECT_EQ(map(9).status, GNTST_general_error) << "to be written";
  const auto mapped = map(9, GNTMAP_host_map | GNTMAP_readonly | GNTMAP_application_map |
                                 GNTMAP_contains_pte | 5U << _GNTMAP_guest_avail0);
  ASSERT_EQ(mapped.status, GNTST_okay);
  EXPECT_EQ(flags(9), read_only | GTF_reading);
  EXPECT_TRUE(target.last.is_machine_address);
  const auto& entry = target.entries.at(here);
  EXPECT_FALSE(entry.writable);
  EXPECT_TRUE(entry.for_user);
  EXPECT_EQ(entry.available & 7, 5U);
  EXPECT_EQ(unmap(mapped.handle), GNTST_okay);
  EXPECT_TRUE(target.last.is_machine_address);
}

TEST_F(GrantMaps, a_table_is_mapped_to_be_read_only) {
  grant(9, plain, 1, FakeGrantTarget::first_table);
  EXPECT_EQ(map(9).status, GNTST_general_error);
  EXPECT_EQ(map(9, GNTMAP_host_map | GNTMAP_readonly).status, GNTST_okay);
}

TEST_F(GrantMaps, what_is_wrong_with_a_map_is_its_status_and_leaves_nothing) {
  grant(9, plain, 1, 7);
  grant(10, plain, 3, 7);
  grant(11, GTF_accept_transfer, 1, 7);
  grant(12, plain, 1, FakeGrantTarget::frame_count);
  EXPECT_EQ(map(9, GNTMAP_readonly).status, GNTST_bad_gntref) << "neither for the host nor for devices";
  EXPECT_EQ(map(9, GNTMAP_host_map, here, 7).status, GNTST_bad_domain);
  EXPECT_EQ(map(9, GNTMAP_host_map, here, DOMID_SELF).status, GNTST_bad_domain);
  EXPECT_EQ(map(512).status, GNTST_bad_gntref);
  EXPECT_EQ(map(0xffffffff).status, GNTST_bad_gntref);
  EXPECT_EQ(map(10).status, GNTST_general_error) << "granted to another";
  EXPECT_EQ(map(11).status, GNTST_general_error) << "not an access";
  EXPECT_EQ(map(12).status, GNTST_bad_page);
  EXPECT_EQ(map(9, GNTMAP_host_map, here - 8).status, GNTST_general_error) << "no entry";
  for (const std::uint32_t ref : {9U, 10U, 12U}) EXPECT_EQ(flags(ref), plain);
  EXPECT_EQ(target.users_of(7), 0U);
  EXPECT_TRUE(target.entries.empty());
}

TEST_F(GrantMaps, both_parts_of_a_mapping_end_before_the_grant_is_let_go) {
  grant(9, plain, 1, 7);
  const auto mapped = map(9, GNTMAP_host_map | GNTMAP_device_map);
  ASSERT_EQ(mapped.status, GNTST_okay);
  EXPECT_EQ(unmap(mapped.handle), GNTST_okay);
  EXPECT_TRUE(target.entries.empty());
  EXPECT_EQ(flags(9), writing);
  EXPECT_EQ(target.users_of(7), 1U);
  EXPECT_EQ(unmap(mapped.handle), GNTST_okay) << "the host's part is gone already";
  EXPECT_EQ(flags(9), writing);
  EXPECT_EQ(unmap(mapped.handle, 0, 8U << 12), GNTST_bad_dev_addr);
  EXPECT_EQ(unmap(mapped.handle, 0, mapped.dev_bus_addr), GNTST_okay);
  EXPECT_EQ(flags(9), plain);
  EXPECT_EQ(target.users_of(7), 0U);
  EXPECT_EQ(unmap(mapped.handle), GNTST_bad_handle);
}

TEST_F(GrantMaps, for_devices_alone_no_entry_is_made) {
  grant(9, plain, 1, 7);
  const auto mapped = map(9, GNTMAP_device_map, 0);
  ASSERT_EQ(mapped.status, GNTST_okay);
  EXPECT_TRUE(target.entries.empty());
  EXPECT_EQ(unmap(mapped.handle, here), GNTST_okay);
  EXPECT_EQ(target.users_of(7), 1U);
  EXPECT_EQ(unmap(mapped.handle, here, mapped.dev_bus_addr), GNTST_okay);
  EXPECT_EQ(target.users_of(7), 0U);
}

/// XSA-234: the entry of a read-only mapping does not end a writable one.
TEST_F(GrantMaps, an_unmap_that_names_another_entry_changes_nothing) {
  grant(9, plain, 1, 7);
  const auto writable = map(9), readable = map(9, GNTMAP_host_map | GNTMAP_readonly, there);
  ASSERT_EQ(readable.status, GNTST_okay);
  EXPECT_EQ(unmap(writable.handle, there), GNTST_general_error);
  EXPECT_EQ(unmap(readable.handle, here), GNTST_general_error);
  EXPECT_EQ(flags(9), writing);
  EXPECT_EQ(target.users_of(7), 2U);
  EXPECT_EQ(unmap(writable.handle), GNTST_okay);
  EXPECT_EQ(flags(9), reading);
}

/// As on Xen, a mapping whose entry was cleared otherwise can't be unmapped, and keeps its grant in use.
TEST_F(GrantMaps, a_mapping_whose_entry_is_gone_keeps_the_grant_in_use) {
  grant(9, plain, 1, 7);
  const auto mapped = map(9);
  target.entries.clear();
  EXPECT_EQ(unmap(mapped.handle), GNTST_general_error);
  EXPECT_EQ(flags(9), writing);
  EXPECT_EQ(target.users_of(7), 1U);
  table.detach();
  EXPECT_EQ(target.users_of(7), 0U) << "until the domain ends";
}

TEST_F(GrantMaps, a_replacement_takes_the_entry_s_place) {
  grant(9, plain, 1, 7);
  grant(10, plain, 1, 8);
  const auto mapped = map(9), other = map(10, GNTMAP_host_map, there);
  EXPECT_EQ(replace(mapped.handle, there), GNTST_okay);
  EXPECT_EQ(target.entries.at(here).frame, Mfn(8));
  EXPECT_FALSE(target.entries.contains(there));
  EXPECT_EQ(flags(9), plain);
  EXPECT_EQ(replace(mapped.handle, there), GNTST_bad_handle);
  EXPECT_EQ(replace(other.handle, 0), GNTST_okay) << "a plain unmap";
  EXPECT_TRUE(target.entries.empty());
  const auto by_entry = map(9, GNTMAP_host_map | GNTMAP_contains_pte);
  EXPECT_EQ(replace(by_entry.handle, there), GNTST_general_error);
  EXPECT_EQ(replace(by_entry.handle, 0), GNTST_okay);
  EXPECT_EQ(target.flushes, 5);
}

TEST_F(GrantMaps, there_are_as_many_handles_as_the_limit_says_and_closed_ones_are_given_again) {
  grant(9, plain, 1, 7);
  std::vector<std::uint32_t> handles;
  for (std::uint32_t i = 0; i < Maptrack::per_frame; ++i) {
    const auto mapped = map(9, GNTMAP_device_map);
    ASSERT_EQ(mapped.status, GNTST_okay);
    handles.push_back(mapped.handle);
  }
  EXPECT_EQ(map(9, GNTMAP_device_map).status, GNTST_no_space);
  EXPECT_EQ(map(512, GNTMAP_device_map).status, GNTST_no_space) << "before the grant is looked at";
  EXPECT_EQ(unmap(handles[17], 0, 7U << 12), GNTST_okay);
  EXPECT_EQ(map(512, GNTMAP_device_map).status, GNTST_bad_gntref) << "a map that fails gives its handle back";
  EXPECT_EQ(map(9, GNTMAP_device_map).handle, handles[17]);
}

}  // namespace
}  // namespace pinfold::devices
