// A guest that copies to and from what it granted to itself.
#include <array>
#include <functional>

#include "grant_table_fixture.hpp"

namespace pinfold::devices {
namespace {

constexpr std::uint16_t plain = GTF_permit_access, read_only = GTF_permit_access | GTF_readonly;
constexpr std::uint16_t by_grants = GNTCOPY_source_gref | GNTCOPY_dest_gref;

class GrantCopies : public GrantTableTest {
 protected:
  GrantCopies() {
    EXPECT_EQ(setup(1), GNTST_okay);
    grant(9, read_only, 1, 7);
    grant(10, plain, 1, 8);
    target.frames[7].shared().store(64, std::uint64_t{0x1234});
  }
  /// From frame 7 to frame 8, each named by its number or by its grant.
  std::int16_t copy(std::uint16_t flags, const std::function<void(gnttab_copy&)>& change = {}) {
    gnttab_copy args{};
    args.flags = flags;
    args.source.domid = args.dest.domid = DOMID_SELF;
    args.source.u.gmfn = 7;
    args.dest.u.gmfn = 8;
    if ((flags & GNTCOPY_source_gref) != 0) args.source.u.ref = 9;
    if ((flags & GNTCOPY_dest_gref) != 0) args.dest.u.ref = 10;
    args.source.offset = 64;
    args.dest.offset = 256;
    args.len = 8;
    args.status = 99;
    if (change) change(args);
    EXPECT_EQ(call(GNTTABOP_copy, args), 0);
    EXPECT_EQ(target.users_of(7) + target.users_of(8), 0U);
    EXPECT_EQ(this->flags(9), read_only);
    EXPECT_EQ(this->flags(10), plain);
    return args.status;
  }
  std::uint64_t copied() { return target.frames[8].shared().exchange(256, std::uint64_t{0}); }
};

TEST_F(GrantCopies, go_from_and_to_grants_and_frames) {
  for (const std::uint16_t flags :
       std::initializer_list<std::uint16_t>{0, GNTCOPY_source_gref, GNTCOPY_dest_gref, by_grants}) {
    EXPECT_EQ(copy(flags), GNTST_okay);
    EXPECT_EQ(copied(), 0x1234U) << flags;
  }
  EXPECT_EQ(copy(by_grants, [](auto& args) { args.source.domid = args.dest.domid = 1; }), GNTST_okay);
  EXPECT_EQ(copied(), 0x1234U) << "by its own number";
}

TEST_F(GrantCopies, within_one_frame_may_overlap) {
  EXPECT_EQ(copy(0, [](auto& args) { args.source.u.gmfn = 8, args.dest.offset = 68; }), GNTST_okay);
}

TEST_F(GrantCopies, end_with_the_page) {
  EXPECT_EQ(copy(0, [](auto& args) { args.source.offset = 4088; }), GNTST_okay);
  EXPECT_EQ(copy(0, [](auto& args) { args.source.offset = 4089; }), GNTST_bad_copy_arg);
  EXPECT_EQ(copy(0, [](auto& args) { args.dest.offset = 4089; }), GNTST_bad_copy_arg);
  EXPECT_EQ(copy(0, [](auto& args) { args.source.offset = args.dest.offset = 0, args.len = 4096; }),
            GNTST_okay);
  EXPECT_EQ(copy(0, [](auto& args) { args.len = 0xffff; }), GNTST_bad_copy_arg);
}

TEST_F(GrantCopies, are_refused_for_what_is_wrong_with_an_end) {
  EXPECT_EQ(copy(0, [](auto& args) { args.source.domid = 1; }), GNTST_permission_denied) << "by number";
  EXPECT_EQ(copy(0, [](auto& args) { args.dest.domid = 1; }), GNTST_permission_denied) << "by number";
  EXPECT_EQ(copy(0, [](auto& args) { args.dest.domid = 5; }), GNTST_bad_domain);
  EXPECT_EQ(copy(0, [](auto& args) { args.source.domid = 1, args.dest.domid = 5; }), GNTST_bad_domain);
  EXPECT_EQ(copy(GNTCOPY_source_gref, [](auto& args) { args.source.domid = 5; }), GNTST_bad_domain);
  EXPECT_EQ(copy(0, [](auto& args) { args.source.u.gmfn = FakeGrantTarget::frame_count; }), GNTST_bad_page);
  EXPECT_EQ(copy(0, [](auto& args) { args.dest.u.gmfn = ~0ULL; }), GNTST_bad_page);
  EXPECT_EQ(copy(by_grants, [](auto& args) { args.source.u.ref = 512; }), GNTST_bad_gntref);
  EXPECT_EQ(copy(by_grants, [](auto& args) { args.source.u.ref = 11; }), GNTST_general_error);
  EXPECT_EQ(copy(by_grants, [](auto& args) { args.dest.u.ref = 9; }), GNTST_general_error) << "read-only";
  EXPECT_EQ(copied(), 0U);
}

TEST_F(GrantCopies, of_nothing_are_refused_as_others_are) {
  EXPECT_EQ(copy(0, [](auto& args) { args.len = 0; }), GNTST_okay);
  EXPECT_EQ(copy(0, [](auto& args) { args.len = 0, args.source.domid = 5; }), GNTST_bad_domain);
  EXPECT_EQ(copy(0, [](auto& args) { args.len = 0, args.source.offset = 4097; }), GNTST_bad_copy_arg);
}

/// Copies of a list: each from the frame or grant `from` to frame 8.
struct CopyList : GrantCopies {
  struct List {
    std::array<gnttab_copy, 4> copies{};
  };
  List list_of(std::array<std::uint32_t, 4> from, std::uint16_t flags) {
    List list;
    for (std::size_t i = 0; i < from.size(); ++i) {
      gnttab_copy& args = list.copies[i];
      args.flags = flags;
      args.source.domid = args.dest.domid = DOMID_SELF;
      args.dest.u.gmfn = 8;
      if ((flags & GNTCOPY_source_gref) != 0)
        args.source.u.ref = from[i];
      else
        args.source.u.gmfn = from[i];
      args.len = 8;
      args.status = 99;
    }
    return list;
  }
  /// How often a frame was held for the list.
  int holds_for(List& list) {
    const int before = target.holds;
    EXPECT_EQ(call(GNTTABOP_copy, list, list.copies.size()), 0);
    EXPECT_EQ(target.users_of(7) + target.users_of(8), 0U) << "nothing stays in use after the list";
    return target.holds - before;
  }
};

TEST_F(CopyList, keeps_its_ends_in_use_while_operations_name_the_same) {
  auto by_frame = list_of({7, 7, 7, 7}, 0);
  EXPECT_EQ(holds_for(by_frame), 2);
  auto by_grant = list_of({9, 9, 9, 9}, GNTCOPY_source_gref);
  EXPECT_EQ(holds_for(by_grant), 2);
  EXPECT_EQ(flags(9), read_only) << "and no mark";
  for (const List& list : {by_frame, by_grant})
    for (const gnttab_copy& args : list.copies) EXPECT_EQ(args.status, GNTST_okay);
}

TEST_F(CopyList, lets_go_of_an_end_that_the_next_operation_does_not_name) {
  auto list = list_of({7, 6, 7, 7}, 0);
  EXPECT_EQ(holds_for(list), 1 + 3);
}

TEST_F(CopyList, tells_a_frame_and_a_grant_of_one_number_apart) {
  auto list = list_of({9, 9, 9, 9}, 0);
  list.copies[1].flags = GNTCOPY_source_gref;
  list.copies[1].source.u.ref = 9;
  target.frames[9].shared().store(0, std::uint64_t{0x99});
  EXPECT_EQ(holds_for(list), 1 + 3);
}

TEST_F(CopyList, keeps_nothing_from_an_operation_that_failed) {
  auto list = list_of({7, 7, 7, 7}, 0);
  list.copies[1].source.offset = 4089;
  EXPECT_EQ(holds_for(list), 2 + 2);
  EXPECT_EQ(list.copies[1].status, GNTST_bad_copy_arg);
  EXPECT_EQ(list.copies[2].status, GNTST_okay);
}

TEST_F(GrantCopies, read_tables_and_do_not_write_them) {
  EXPECT_EQ(copy(0, [](auto& args) { args.source.u.gmfn = FakeGrantTarget::first_table; }), GNTST_okay);
  EXPECT_EQ(copy(0, [](auto& args) { args.dest.u.gmfn = FakeGrantTarget::first_table; }),
            GNTST_general_error);
  grant(12, plain, 1, FakeGrantTarget::first_table);
  EXPECT_EQ(copy(by_grants, [](auto& args) { args.dest.u.ref = 12; }), GNTST_general_error);
  EXPECT_EQ(flags(12), plain);
}

}  // namespace
}  // namespace pinfold::devices
