// The pure functions: what Xen makes of an entry, what its mirror is, which changes narrow, which transitions
// exist.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/entry_rules.hpp"

namespace pinfold::pvmmu::test {
namespace {

TEST(Transitions, an_uncounted_frame_may_become_anything_and_a_counted_one_stays_what_it_is) {
  for (std::size_t from = 0; from < frame_types; ++from)
    for (std::size_t to = 0; to < frame_types; ++to) {
      EXPECT_EQ(transition(FrameType(from), false, FrameType(to)), Transition::retype);
      EXPECT_EQ(transition(FrameType(from), true, FrameType(to)),
                from == to ? Transition::share : Transition::refuse)
          << from << " to " << to;
    }
}

TEST(Transitions, are_looked_up_by_type_and_counts_alone) {
  DomainRecords records(2, 2);
  const Mfn mfn(1);
  records.facts(mfn).type = FrameType::l2;
  EXPECT_EQ(records.transition(mfn, FrameType::writable), Transition::retype);
  records.holds(mfn) = 1;
  EXPECT_EQ(records.transition(mfn, FrameType::writable), Transition::refuse);
  EXPECT_EQ(records.transition(mfn, FrameType::l2), Transition::share);
  records.holds(mfn) = max_references;
  EXPECT_EQ(records.transition(mfn, FrameType::l3), Transition::refuse);
  records.holds(mfn) = 0;
  records.facts(mfn).type = FrameType::writable;
  records.uses(mfn) = {1, 1};
  EXPECT_EQ(records.transition(mfn, FrameType::writable), Transition::share);
  EXPECT_EQ(records.transition(mfn, FrameType::l3), Transition::refuse);
  records.uses(mfn) = {1, 0};
  EXPECT_EQ(records.transition(mfn, FrameType::l3), Transition::retype);
}

TEST(FrameTypes, tables_and_descriptors_are_protected_and_data_is_not) {
  for (const FrameType t : {FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4, FrameType::seg_desc})
    EXPECT_TRUE(is_protected(t));
  EXPECT_FALSE(is_protected(FrameType::none));
  EXPECT_FALSE(is_protected(FrameType::writable));
  EXPECT_FALSE(is_table(FrameType::seg_desc));
}

TEST(AdjustedL1, a_kernel_page_gets_u_and_remembers_that_it_was_clear) {
  EXPECT_EQ(adjusted_l1(Pte(Mfn(5), bit::present)),
            Pte(Mfn(5), bit::present | bit::user | bit::guest_kernel));
}
TEST(AdjustedL1, a_user_page_becomes_global) {
  EXPECT_EQ(adjusted_l1(Pte(Mfn(5), ro)), Pte(Mfn(5), ro | bit::global));
}
TEST(AdjustedL1, is_idempotent_so_that_reading_and_writing_back_changes_nothing) {
  for (const std::uint64_t flags :
       {rw, ro, bit::present, bit::present | bit::global, bit::present | bit::guest_kernel}) {
    const Pte once = adjusted_l1(Pte(Mfn(5), flags));
    EXPECT_EQ(adjusted_l1(once), once) << std::hex << flags;
  }
}
TEST(Adjusted, an_entry_that_is_not_present_is_stored_as_given) {
  const Pte swap(0x123456789abcde00ULL);
  EXPECT_EQ(adjusted_l1(swap), swap);
  for (const Level level : {Level::l2, Level::l3, Level::l4}) EXPECT_EQ(adjusted_upper(level, swap), swap);
}
TEST(AdjustedUpper, sets_u_and_in_a_root_a) {
  EXPECT_EQ(adjusted_upper(Level::l2, Pte(Mfn(5), bit::present)), Pte(Mfn(5), bit::present | bit::user));
  EXPECT_EQ(adjusted_upper(Level::l3, Pte(Mfn(5), bit::present)), Pte(Mfn(5), bit::present | bit::user));
  EXPECT_EQ(adjusted_upper(Level::l4, Pte(Mfn(5), bit::present)),
            Pte(Mfn(5), bit::present | bit::user | bit::accessed));
}

TEST(MirrorLeaf, is_writable_only_if_the_guests_entry_is_writable_and_dirty) {
  const auto writable = [](std::uint64_t flags) {
    return mirror_leaf(Pte(Mfn(5), bit::present | flags)).writable();
  };
  EXPECT_FALSE(writable(0));
  EXPECT_FALSE(writable(bit::dirty));
  EXPECT_FALSE(writable(bit::writable));
  EXPECT_TRUE(writable(bit::writable | bit::dirty));
}
TEST(MirrorLeaf, holds_no_bit_of_the_guest_but_p_rw_a_d_nx_and_the_address) {
  const Pte all(~0ULL);
  const Pte found = mirror_leaf(all);
  EXPECT_EQ(found.flags(),
            bit::present | bit::writable | bit::user | bit::accessed | bit::dirty | bit::no_execute);
  EXPECT_EQ(found.mfn(), Mfn(first_monitor_frame.raw() - 1));
  EXPECT_EQ(mirror_leaf(Pte(bit::present)).raw(), bit::present | bit::user);
}
TEST(MirrorLeaf, is_writable_when_the_guests_is_and_dirty_and_marked_when_it_is_clean) {
  for (const std::uint64_t others : {std::uint64_t{0}, bit::available, bit::available | bit::no_execute})
    for (const std::uint64_t flags :
         {std::uint64_t{0}, bit::dirty, bit::writable, bit::writable | bit::dirty}) {
      const Pte mirror = mirror_leaf(Pte(Mfn(5), bit::present | flags | others));
      EXPECT_EQ(mirror.writable(), flags == (bit::writable | bit::dirty));
      EXPECT_EQ(mirror.any(bit::dirty), (flags & bit::dirty) != 0);
      EXPECT_EQ(mirror.raw() & (bit::available | bit::available_high),
                flags == bit::writable ? withheld_write : 0);
    }
}
TEST(MirrorLeaf, names_no_frame_of_the_monitors_own) {
  for (unsigned bits = 0; bits < 40; ++bits)
    EXPECT_LT(mirror_leaf(Pte(Mfn(1ULL << bits), rw)).mfn(), first_monitor_frame) << bits;
  EXPECT_EQ(mirror_leaf(Pte(Mfn(first_monitor_frame.raw() - 1), rw)).mfn(),
            Mfn(first_monitor_frame.raw() - 1));
}
TEST(Mirrors, of_an_entry_that_is_not_present_are_zero_whatever_address_it_holds) {  // XSA-273
  EXPECT_EQ(mirror_leaf(Pte(~bit::present)), Pte());
  EXPECT_EQ(mirror_upper(Pte(~bit::present), Mfn(77)), Pte());
}
TEST(MirrorUpper, names_the_childs_mirror_and_never_the_guests_frame) {
  EXPECT_EQ(mirror_upper(Pte(~0ULL), Mfn(77)),
            Pte(Mfn(77), bit::present | bit::writable | bit::user | bit::accessed | bit::no_execute));
  EXPECT_EQ(mirror_upper(Pte(Mfn(5), bit::present), Mfn(77)),
            Pte(Mfn(77), bit::present | bit::user | bit::accessed));
}

TEST(Narrows, only_what_allows_less_or_something_else) {
  const Pte none, read(Mfn(5), ro), write(Mfn(5), rw), data(Mfn(5), ro | bit::no_execute), other(Mfn(6), ro);
  EXPECT_FALSE(narrows(none, none));
  EXPECT_FALSE(narrows(none, write));
  EXPECT_FALSE(narrows(read, read));
  EXPECT_FALSE(narrows(read, write));
  EXPECT_FALSE(narrows(data, read));
  EXPECT_FALSE(narrows(read, read.without(bit::accessed)));
  EXPECT_TRUE(narrows(read, none));
  EXPECT_TRUE(narrows(write, read));
  EXPECT_TRUE(narrows(read, data));
  EXPECT_TRUE(narrows(read, other));
  EXPECT_TRUE(narrows(write, data));
}

TEST(FlagBits, of_both_kinds_and_the_rest_cover_every_bit_of_an_entry) {
  constexpr std::uint64_t l1_rest = bit::address | bit::present | bit::writable | cache_bits;
  EXPECT_EQ(l1_flag_bits | l1_rest, ~0ULL);
  EXPECT_EQ(l1_flag_bits & l1_rest, 0U);
  constexpr std::uint64_t upper_rest = bit::address | bit::present | cache_bits | bit::global;
  EXPECT_EQ(upper_flag_bits | upper_rest, ~0ULL);
  EXPECT_EQ(upper_flag_bits & upper_rest, 0U);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
