// Two domains of one machine, of which one maps and copies what the other grants.
#include "grant_neighbour_fixture.hpp"

namespace pinfold::devices {
namespace {

TEST_F(GrantNeighbour, shows_which_grants_are_in_use_and_what_is_mapped_by_them) {
  two.grant(9, plain, 1, 7);
  two.grant(10, plain, 1, 8);
  const auto first = one.map(2, 9), again = one.map(2, 9, GNTMAP_host_map | GNTMAP_readonly, here + 8),
             other = one.map(2, 10, GNTMAP_device_map);
  ASSERT_EQ(other.status, GNTST_okay);
  auto in_use = two.table->entries().in_use(Mfn(7));
  ASSERT_EQ(in_use.size(), 1U);
  EXPECT_EQ(in_use[0].ref, GrantRef(9));
  EXPECT_EQ(in_use[0].grantee, DomId(1));
  EXPECT_EQ(in_use[0].readers, 1U);
  EXPECT_EQ(in_use[0].writers, 1U);
  EXPECT_EQ(two.table->entries().in_use().size(), 2U);
  EXPECT_TRUE(one.table->entries().in_use().empty());

  const auto mapped = [this](Mfn frame) {
    std::vector<MappedGrant> found;
    std::uint32_t next = 0;
    while (one.table->list_mapped(one.lock.held, next, frame, found)) {
    }
    return found;
  };
  ASSERT_EQ(mapped(Mfn(7)).size(), 2U);
  EXPECT_EQ(mapped(Mfn(7))[0].handle, first.handle);
  EXPECT_TRUE(mapped(Mfn(7))[0].writable && mapped(Mfn(7))[0].by_entry);
  EXPECT_FALSE(mapped(Mfn(7))[1].writable);
  ASSERT_EQ(mapped(Mfn(8)).size(), 1U);
  EXPECT_TRUE(mapped(Mfn(8))[0].for_device && !mapped(Mfn(8))[0].by_entry);
  EXPECT_EQ(one.unmap(first.handle), GNTST_okay);
  EXPECT_EQ(one.unmap(again.handle, here + 8), GNTST_okay);
  EXPECT_TRUE(mapped(Mfn(7)).empty());
  EXPECT_EQ(mapped(no_mfn).size(), 1U);
  EXPECT_TRUE(two.table->entries().in_use(Mfn(7)).empty());
}

TEST_F(GrantNeighbour, maps_and_unmaps_a_frame_of_the_others) {
  two.grant(9, plain, 1, 7);
  const auto mapped = one.map(2, 9);
  ASSERT_EQ(mapped.status, GNTST_okay);
  EXPECT_EQ(mapped.dev_bus_addr, 7U << 12);
  EXPECT_EQ(two.flags(9), writing);
  EXPECT_EQ(two.target.users_of(7), 1U);
  EXPECT_EQ(one.target.users_of(7), 0U);
  EXPECT_EQ(one.target.entries.at(here).owner, DomId(2));
  EXPECT_TRUE(two.target.entries.empty());
  EXPECT_EQ(one.unmap(mapped.handle), GNTST_okay);
  EXPECT_EQ(two.flags(9), plain);
  EXPECT_EQ(two.target.users_of(7), 0U);
  EXPECT_EQ(one.unmap(mapped.handle), GNTST_bad_handle);
}

/// Else the owner could use the frame while a vCPU still reaches it.
TEST_F(GrantNeighbour, lets_go_of_a_frame_after_the_flush) {
  two.grant(9, plain, 1, 7);
  const auto mapped = one.map(2, 9);
  bool held_at_the_flush = false;
  one.target.on_flush = [&] { held_at_the_flush = two.target.users_of(7) == 1 && two.flags(9) == writing; };
  EXPECT_EQ(one.unmap(mapped.handle), GNTST_okay);
  EXPECT_TRUE(held_at_the_flush);
  EXPECT_EQ(two.target.users_of(7), 0U);
}

TEST_F(GrantNeighbour, is_not_there_or_grants_nothing) {
  two.grant(9, plain, 3, 7);
  two.grant(10, 0, 1, 7);
  two.grant(11, plain, 1, 60);
  two.grant(12, read_only, 1, 7);
  two.grant(13, plain, 1, FakeGrantTarget::first_table);
  EXPECT_EQ(one.map(3, 9).status, GNTST_bad_domain);
  EXPECT_EQ(one.map(0, 9).status, GNTST_bad_domain);
  EXPECT_EQ(one.map(DOMID_SELF, 9).status, GNTST_bad_domain);
  EXPECT_EQ(one.map(2, 9).status, GNTST_general_error) << "to domain 3";
  EXPECT_EQ(one.map(2, 10).status, GNTST_general_error);
  EXPECT_EQ(one.map(2, 11).status, GNTST_bad_page);
  EXPECT_EQ(one.map(2, 12).status, GNTST_general_error) << "for writing";
  EXPECT_EQ(one.map(2, 13).status, GNTST_general_error) << "a table, for writing";
  EXPECT_EQ(one.map(2, 512).status, GNTST_bad_gntref);
  EXPECT_EQ(one.map(2, ~0U).status, GNTST_bad_gntref);
  EXPECT_EQ(one.map(2, 12, GNTMAP_host_map | GNTMAP_readonly, 8).status, GNTST_general_error) << "no entry";
  for (std::uint32_t ref = 9; ref < 14; ++ref) EXPECT_EQ(two.flags(ref) & (GTF_reading | GTF_writing), 0);
  EXPECT_EQ(two.target.users_of(7), 0U);
  EXPECT_TRUE(one.target.entries.empty());
  two.table->entries().drop();
  EXPECT_EQ(one.map(2, 511).status, GNTST_general_error)
      << "as long as the owner has not asked for its table";
  EXPECT_EQ(one.map(2, 512).status, GNTST_bad_gntref);
}

TEST_F(GrantNeighbour, s_table_is_its_own) {
  gnttab_query_size size{2, 99, 0, 0};
  EXPECT_EQ(one.call(GNTTABOP_query_size, size), 0);
  EXPECT_EQ(size.status, GNTST_permission_denied);
  gnttab_setup_table setup{};
  setup.dom = 2;
  setup.nr_frames = 2;
  EXPECT_EQ(one.call(GNTTABOP_setup_table, setup), 0);
  EXPECT_EQ(setup.status, GNTST_permission_denied);
  EXPECT_EQ(two.table->entries().frames().size(), 1U);
  gnttab_get_version version{2, 0, 99};
  EXPECT_EQ(one.call(GNTTABOP_get_version, version), to_rax(Errno::eperm));
  gnttab_get_status_frames frames{};
  frames.dom = 2;
  EXPECT_EQ(one.call(GNTTABOP_get_status_frames, frames), 0);
  EXPECT_EQ(frames.status, GNTST_permission_denied);
  size.dom = 3;
  EXPECT_EQ(one.call(GNTTABOP_query_size, size), 0);
  EXPECT_EQ(size.status, GNTST_bad_domain);
}

TEST_F(GrantNeighbour, runs_out_of_handles_alone) {
  two.grant(9, plain, 1, 7);
  one.grant(9, plain, 2, 7);
  for (std::uint32_t i = 0; i < Maptrack::per_frame; ++i)
    ASSERT_EQ(one.map(2, 9, GNTMAP_device_map).status, GNTST_okay);
  EXPECT_EQ(one.map(2, 9).status, GNTST_no_space);
  EXPECT_EQ(two.map(1, 9).status, GNTST_okay);
}

TEST_F(GrantNeighbour, that_ends_is_not_found_and_its_frames_stay_mapped) {
  two.grant(9, plain, 1, 7);
  const auto mapped = one.map(2, 9);
  ASSERT_EQ(mapped.status, GNTST_okay);
  two.end();
  EXPECT_EQ(one.map(2, 9).status, GNTST_bad_domain);
  EXPECT_EQ(two.target.users_of(7), 1U);
  EXPECT_EQ(one.unmap(mapped.handle), GNTST_okay);
  EXPECT_EQ(two.target.users_of(7), 0U);
}

TEST_F(GrantNeighbour, that_ends_lets_go_of_what_it_mapped) {
  one.grant(9, plain, 2, 7);
  ASSERT_EQ(two.map(1, 9).status, GNTST_okay);
  EXPECT_EQ(one.flags(9), writing);
  two.end();
  EXPECT_EQ(one.target.users_of(7), 1U) << "its tables may still be looked at";
  two.target.kept.reset();
  EXPECT_EQ(one.flags(9), plain);
  EXPECT_EQ(one.target.users_of(7), 0U);
}

TEST_F(GrantNeighbour, copies_from_and_to_the_other) {
  one.grant(9, plain, 2, 5);
  two.grant(9, plain, 1, 7);
  two.grant(10, read_only, 1, 8);
  two.target.frames[8].shared().store<std::uint64_t>(16, 0x1234);
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(2, 10, 16), own(5, 24)), GNTST_okay);
  EXPECT_EQ(one.target.frames[5].shared().load<std::uint64_t>(24), 0x1234U);
  EXPECT_EQ(copy(GNTCOPY_dest_gref, own(5, 24), granted(2, 9, 32)), GNTST_okay);
  EXPECT_EQ(two.target.frames[7].shared().load<std::uint64_t>(32), 0x1234U);
  EXPECT_EQ(copy(GNTCOPY_source_gref | GNTCOPY_dest_gref, granted(2, 10, 16), granted(2, 9, 40)), GNTST_okay);
  EXPECT_EQ(two.target.frames[7].shared().load<std::uint64_t>(40), 0x1234U);
  EXPECT_EQ(two.flags(9), plain);
  EXPECT_EQ(two.flags(10), read_only);
}

TEST_F(GrantNeighbour, copies_nothing_that_is_not_granted_or_out_of_bounds) {
  two.grant(9, read_only, 1, 7);
  two.grant(10, plain, 3, 7);
  EXPECT_EQ(copy(GNTCOPY_dest_gref, own(5), granted(2, 9)), GNTST_general_error);
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(2, 10), own(5)), GNTST_general_error);
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(3, 9), own(5)), GNTST_bad_domain);
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(2, 512), own(5)), GNTST_bad_gntref);
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(2, 9, 4089), own(5)), GNTST_bad_copy_arg);
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(2, 9), own(5, 4089)), GNTST_bad_copy_arg);
  auto theirs = own(7);
  theirs.domid = 2;
  EXPECT_EQ(copy(0, theirs, own(5)), GNTST_permission_denied);
  EXPECT_EQ(two.flags(9), read_only);
  EXPECT_EQ(two.target.users_of(7), 0U);
}

// -- transfers

constexpr std::uint16_t accepts = GTF_accept_transfer;
constexpr std::uint16_t complete = accepts | GTF_transfer_committed | GTF_transfer_completed;

TEST_F(GrantNeighbour, receives_a_frame_that_it_accepts) {
  two.grant(9, accepts, 1, 77);
  EXPECT_EQ(one.transfer(5, 2, 9), GNTST_okay);
  EXPECT_EQ(two.flags(9), complete);
  EXPECT_EQ(two.frame(9), 5U);
  EXPECT_EQ(two.target.places.at(Mfn(5)), Pfn(77));
  EXPECT_EQ(one.target.frames_lost, 0);
  EXPECT_EQ(one.transfer(6, 2, 9), GNTST_general_error) << "an entry takes one frame";
  EXPECT_EQ(two.frame(9), 5U);
  EXPECT_EQ(one.map(2, 9).status, GNTST_general_error) << "it grants nothing";
}

TEST_F(GrantNeighbour, receives_nothing_that_it_does_not_accept_and_the_frame_is_lost) {
  two.grant(9, accepts, 3, 77);
  two.grant(10, plain, 1, 77);
  two.grant(11, accepts | GTF_transfer_committed, 1, 77);
  two.grant(12, accepts | GTF_readonly, 1, 77);
  const std::uint32_t refs[] = {9, 10, 11, 12, 13, 511, 512, ~0U};
  for (const std::uint32_t ref : refs) EXPECT_EQ(one.transfer(5, 2, ref), GNTST_general_error) << ref;
  for (const std::uint16_t nobody : {std::uint16_t{3}, std::uint16_t{0}, std::uint16_t{DOMID_SELF}})
    EXPECT_EQ(one.transfer(5, nobody, 9), GNTST_bad_domain);
  EXPECT_EQ(one.target.frames_lost, 11);
  EXPECT_TRUE(two.target.places.empty());
  EXPECT_EQ(two.flags(9), accepts);
  EXPECT_EQ(two.flags(11), accepts | GTF_transfer_committed);
  EXPECT_EQ(two.frame(9), 77U);
}

TEST_F(GrantNeighbour, receives_nothing_if_its_entry_changes_after_the_first_look) {
  two.target.before_it_accepts = [&] { two.grant(9, plain, 1, 77); };
  two.grant(9, accepts, 1, 77);
  EXPECT_EQ(one.transfer(5, 2, 9), GNTST_general_error);
  EXPECT_EQ(two.flags(9), plain) << "nothing is marked in an entry that accepts no more";
  two.target.before_it_accepts = [&] { two.grant(9, accepts, 3, 77); };
  two.grant(9, accepts, 1, 77);
  EXPECT_EQ(one.transfer(5, 2, 9), GNTST_general_error);
  EXPECT_EQ(two.flags(9), accepts) << "it waits for domain 3's frame";
  EXPECT_TRUE(two.target.places.empty());
  EXPECT_EQ(two.frame(9), 77U);
  EXPECT_EQ(one.target.frames_lost, 2);
  // The place counts as it is at the second look.
  two.target.before_it_accepts = [&] { two.grant(9, accepts, 1, 78); };
  EXPECT_EQ(one.transfer(5, 2, 9), GNTST_general_error) << "nothing is done for an entry that accepts later";
  two.grant(9, accepts, 1, 77);
  EXPECT_EQ(one.transfer(5, 2, 9), GNTST_okay);
  EXPECT_EQ(two.target.places.at(Mfn(5)), Pfn(78));
  EXPECT_EQ(two.frame(9), 5U);
}

TEST_F(GrantNeighbour, without_room_keeps_its_entry) {
  two.grant(9, accepts, 1, 77);
  two.target.has_room = false;
  EXPECT_EQ(one.transfer(5, 2, 9), GNTST_general_error);
  EXPECT_EQ(two.flags(9), accepts);
  EXPECT_EQ(one.target.frames_lost, 1);
}

TEST_F(GrantNeighbour, is_not_asked_for_a_frame_that_can_t_leave) {
  two.grant(9, accepts, 1, 77);
  one.grant(9, plain, 2, 5);
  ASSERT_EQ(two.map(1, 9).status, GNTST_okay);
  for (const std::uint64_t frame : {std::uint64_t{5}, FakeGrantTarget::first_table, std::uint64_t{60}, ~0UL})
    EXPECT_EQ(one.transfer(frame, 2, 9), GNTST_bad_page);
  EXPECT_EQ(one.transfer(5, 3, 9), GNTST_bad_page) << "the frame is looked at first";
  EXPECT_EQ(two.flags(9), accepts);
  EXPECT_EQ(one.target.frames_lost, 0);
}

TEST_F(GrantNeighbour, is_not_needed_to_transfer_to_oneself) {
  one.grant(9, accepts, 1, 77);
  EXPECT_EQ(one.transfer(5, 1, 9), GNTST_okay);
  EXPECT_EQ(one.flags(9), complete);
  EXPECT_EQ(one.frame(9), 5U);
  EXPECT_EQ(one.target.places.at(Mfn(5)), Pfn(77));
  EXPECT_EQ(one.transfer(6, 1, 9), GNTST_general_error);
  EXPECT_EQ(one.transfer(60, 1, 9), GNTST_bad_page);
}

}  // namespace
}  // namespace pinfold::devices
