// Xen's security advisories about page-table entries and frame numbers, tried on the validator.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/descriptor.hpp"

namespace pinfold::pvmmu::test {
namespace {

/// Two domains, the first with a pinned tree.
class XsaEntries : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4)); }
  void TearDown() override {
    EXPECT_EQ(one.findings(), std::vector<std::string>());
    EXPECT_EQ(two.findings(), std::vector<std::string>());
  }
  Verdict<> update(Mfn frame, std::size_t slot, Pte want) {
    return one.mmu.update(one.held, entry_at(frame, slot), want, Preserve::nothing);
  }
  [[nodiscard]] Frame frame(Mfn mfn) const { return machine.frames[mfn]; }

  FakeMachine machine{128};
  FakeDomain one{machine, DomId(1)};
  FakeDomain two{machine, DomId(2)};
  Tree tree = build_tree(machine, one);
  Mfn page = one.allocate();
  Mfn foreign = two.allocate();
};

/// Numbers that are not frames of the domain, from the nearest to the farthest.
std::vector<Mfn> frames_of_nobody_here(Mfn foreign) {
  std::vector<Mfn> all{Mfn(0), foreign, Mfn(127), Mfn(128), first_mirror_frame, first_mirror_frame.plus(1)};
  for (unsigned shift = 8; shift < 64; ++shift) {
    all.emplace_back(1ULL << shift);
    all.emplace_back((1ULL << shift) - 1);
  }
  all.push_back(no_mfn);
  all.emplace_back(no_mfn.raw() - 1);
  return all;
}

TEST_F(XsaEntries, a_frame_number_that_is_not_the_domains_is_refused_by_every_operation) {  // XSA-32, 248
  Mfn root = no_mfn;
  ASSERT_TRUE(one.mmu.load_root(one.held, root, tree.l4));
  const auto before = snapshot(machine.frames);
  for (const Mfn bad : frames_of_nobody_here(foreign)) {
    SCOPED_TRACE(bad.raw());
    for (const FrameType type : {FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4,
                                 FrameType::seg_desc, FrameType::writable})
      EXPECT_FALSE(one.mmu.hold(one.held, bad, type));
    for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
      EXPECT_FALSE(one.mmu.pin(one.held, level, bad));
    EXPECT_FALSE(one.mmu.unpin(one.held, bad));
    EXPECT_FALSE(one.mmu.load_root(one.held, root, bad));
    EXPECT_FALSE(one.mmu.clear_page(one.held, bad));
    EXPECT_FALSE(one.mmu.copy_page(one.held, bad, page));
    EXPECT_FALSE(one.mmu.copy_page(one.held, page, bad));
    EXPECT_FALSE(one.mmu.set_machphys(one.held, bad, Pfn(1)));
    EXPECT_FALSE(one.mmu.deallocate(one.held, bad));
    EXPECT_FALSE(one.mmu.check_exchangeable(one.held, bad));
    // A number that is cut off in an address or an entry may become that of another, good frame.
    if (bad.raw() < 1ULL << 52) {
      EXPECT_FALSE(update(bad, 0, Pte()));
      EXPECT_FALSE(one.mmu.write_descriptor(one.held, entry_at(bad, 0), 0));
    }
    if (bad.raw() < 1ULL << 40) {
      for (const std::uint64_t flags : {ro, rw}) EXPECT_FALSE(update(tree.l1, 7, Pte(bad, flags)));
      for (const Level level : {Level::l2, Level::l3, Level::l4})
        EXPECT_FALSE(update(table_of(tree, level), 7, Pte(bad, table)));
    }
  }
  EXPECT_EQ(root, tree.l4);
  EXPECT_EQ(snapshot(machine.frames), before);
  one.mmu.unload_root(one.held, root);
}

TEST_F(XsaEntries, no_memory_type_but_write_back_in_any_combination) {  // XSA-154, 402
  constexpr std::array types{bit::write_through, bit::cache_disable, bit::pat_or_large};
  for (std::uint64_t set = 1; set < 8; ++set) {
    std::uint64_t flags = ro;
    for (std::size_t i = 0; i < types.size(); ++i)
      if ((set >> i & 1) != 0) flags |= types[i];
    EXPECT_FALSE(update(tree.l1, 1, Pte(page, flags)));
    EXPECT_FALSE(update(tree.l1, 1, Pte(page, flags | bit::writable)));
    EXPECT_FALSE(update(tree.l2, 1, Pte(tree.l1, flags)));
    const Mfn fresh = one.allocate();
    machine.poke(fresh, 17, Pte(page, flags));
    EXPECT_FALSE(one.mmu.pin(one.held, Level::l1, fresh)) << "nor found in a table that is validated whole";
  }
}

TEST_F(XsaEntries, what_a_present_entry_holds_never_becomes_a_superpage) {  // XSA-148, 176
  for (const Level level : {Level::l2, Level::l3, Level::l4}) {
    const Mfn mfn = table_of(tree, level);
    const Pte now = machine.peek(mfn, 0);
    for (const std::uint64_t extra : {std::uint64_t{0}, bit::writable, bit::dirty, bit::no_execute})
      EXPECT_EQ(update(mfn, 0, now.with(bit::pat_or_large | extra)).error().rule, Rule::entry_bad_flags);
    EXPECT_EQ(machine.peek(mfn, 0), now);
    // The entry is stored while it is not present, and then made present.
    ASSERT_TRUE(update(mfn, 9, now.with(bit::pat_or_large).without(bit::present)));
    EXPECT_EQ(update(mfn, 9, now.with(bit::pat_or_large)).error().rule, Rule::entry_bad_flags);
    ASSERT_TRUE(update(mfn, 9, Pte()));
  }
}

TEST_F(XsaEntries, without_linear_tables_a_root_that_names_itself_is_refused) {  // XSA-182
  for (const std::uint64_t flags : {ro, table, ro | bit::no_execute})
    for (const std::size_t slot : {0UL, 5UL, 255UL, 272UL, 511UL})
      EXPECT_EQ(update(tree.l4, slot, Pte(tree.l4, flags)).error().rule, Rule::upper_linear);
}

TEST_F(XsaEntries, an_entry_that_is_not_present_reaches_no_frame_whatever_address_it_holds) {  // XSA-273
  for (const std::uint64_t address : {std::uint64_t{0}, std::uint64_t{0x1000}, bit::address}) {
    for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
      const Mfn mfn = table_of(tree, level);
      const Pte stored(address | (bit::writable | bit::user | bit::dirty));
      ASSERT_TRUE(update(mfn, 3, stored));
      EXPECT_EQ(machine.peek(mfn, 3), stored);
      EXPECT_EQ(one.mirrors.load(MirrorId(frame(mfn).mirror), 3), Pte()) << "what the processor walks";
    }
  }
}

TEST_F(XsaEntries, a_refused_update_by_address_asks_for_no_flush) {  // XSA-279
  (void)one.mmu.take_flush_duty();
  const std::uint64_t addresses[]{0x0000800000000000, 0x7fffffffffffffff, 0x8000000000000000,
                                  0xffff7fffffffffff, 0xffff800000000000, 0xffff87ffffffffff,
                                  va_of(1, 0).raw(),  0xffffffffffffffff};
  for (const std::uint64_t va : addresses) {
    EXPECT_EQ(one.mmu.update_va(one.held, tree.l4, GuestVaddr(va), Pte(page, rw)).error().rule,
              Rule::va_no_l1);
    EXPECT_FALSE(one.mmu.take_flush_duty());
  }
}

TEST_F(XsaEntries, a_new_l1_is_what_the_next_update_by_address_changes) {  // XSA-286
  const GuestVaddr va = va_of(0, 4);
  ASSERT_TRUE(one.mmu.update_va(one.held, tree.l4, va, Pte(page, ro)));
  const Mfn other = one.allocate();
  ASSERT_TRUE(update(tree.l2, 0, Pte(other, table)));
  EXPECT_TRUE(one.mmu.take_flush_duty());
  ASSERT_TRUE(one.mmu.update_va(one.held, tree.l4, va, Pte(page, rw)));
  EXPECT_EQ(machine.peek(other, 4).mfn(), page);
  EXPECT_FALSE(machine.peek(tree.l1, 4).writable()) << "the old L1 is not what translates the address now";
}

TEST_F(XsaEntries, replacing_entries_of_another_domains_tables_is_refused) {  // XSA-109
  const Tree theirs = build_tree(machine, two);
  ASSERT_TRUE(two.mmu.pin(two.held, Level::l4, theirs.l4));
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
    EXPECT_EQ(update(table_of(theirs, level), 0, Pte()).error().rule, Rule::frame_not_owned);
    EXPECT_FALSE(update(tree.l1, 8, Pte(table_of(theirs, level), ro)));
    EXPECT_FALSE(update(tree.l2, 8, Pte(table_of(theirs, level), ro)));
  }
}

TEST_F(XsaEntries, refused_machphys_changes_leave_the_old_number) {  // XSA-22
  ASSERT_TRUE(two.mmu.set_machphys(two.held, foreign, Pfn(5)));
  EXPECT_FALSE(one.mmu.set_machphys(one.held, foreign, Pfn(6)));
  EXPECT_EQ(machine.m2p(foreign), 5U);
}

TEST_F(XsaEntries, no_machphys_value_means_anything_to_the_validator) {  // XSA-251
  for (const std::uint64_t value : {~0ULL, ~0ULL - 1, 0x5555555555555555ULL, 1ULL << 63, 0ULL}) {
    const auto before = snapshot(machine.frames);
    ASSERT_TRUE(one.mmu.set_machphys(one.held, page, Pfn(value)));
    EXPECT_EQ(snapshot(machine.frames), before);
    ASSERT_TRUE(update(tree.l1, 6, Pte(page, rw)));
    ASSERT_TRUE(update(tree.l1, 6, Pte()));
  }
}

TEST_F(XsaEntries, a_misaligned_entry_address_reaches_one_whole_entry) {  // XSA-227, 195
  for (std::uint64_t offset = 0; offset < 8; ++offset) {
    const MachineAddr where(entry_at(tree.l1, 20).raw() + offset);
    ASSERT_TRUE(one.mmu.update(one.held, where, Pte(page, ro), Preserve::nothing));
    EXPECT_EQ(machine.peek(tree.l1, 20).mfn(), page);
    EXPECT_EQ(machine.peek(tree.l1, 19), Pte());
    EXPECT_EQ(machine.peek(tree.l1, 21), Pte());
  }
}

}  // namespace
}  // namespace pinfold::pvmmu::test
