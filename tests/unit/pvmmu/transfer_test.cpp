// Frames that go from one domain to another.
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

using Access = FakeView::Access;

/// Domain 1, which has a pinned tree and gives, and domain 2, which has room for one frame more.
struct Transfer : testing::Test {
  Transfer() {
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
    machine.poke(page, 7, Pte(std::uint64_t{0x1234}));
  }
  ~Transfer() override {
    for (const FakeDomain* domain : {&one, &two})
      EXPECT_TRUE(domain->findings().empty()) << domain->findings().front();
  }
  [[nodiscard]] Rule refused(Mfn mfn) {
    const auto given = one.mmu.give_away(one.held, mfn);
    EXPECT_FALSE(given);
    return given ? Rule::unfinished : given.error().rule;
  }
  Verdict<> map(FakeDomain& domain, const Tree& in, Mfn mfn) {
    return domain.mmu.update(domain.held, entry_at(in.l1, 3), Pte(mfn, ro), Preserve::nothing);
  }

  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  FakeDomain two{machine, DomId(2), {.max_frames = 5}};
  Tree tree = build_tree(machine, one), theirs = build_tree(machine, two);
  Mfn page = one.allocate();
};

TEST_F(Transfer, takes_the_frame_with_what_is_in_it) {
  const std::uint64_t frames = one.mmu.allocated_frames();
  ASSERT_TRUE(one.mmu.give_away(one.held, page));
  EXPECT_FALSE(one.mmu.owns(page));
  EXPECT_EQ(one.mmu.allocated_frames(), frames - 1);
  EXPECT_EQ(one.view.of(page), Access::none);
  EXPECT_EQ(machine.m2p(page), no_pfn.raw());
  ASSERT_TRUE(two.mmu.receive(two.held, page, Pfn(42)));
  EXPECT_TRUE(two.mmu.owns(page));
  EXPECT_EQ(two.mmu.allocated_frames(), 5U);
  EXPECT_EQ(two.view.of(page), Access::read_write);
  EXPECT_EQ(one.view.of(page), Access::none);
  EXPECT_EQ(machine.m2p(page), 42U);
  EXPECT_EQ(machine.peek(page, 7).raw(), 0x1234U);
  EXPECT_FALSE(map(one, tree, page));
  ASSERT_TRUE(two.mmu.deallocate(two.held, page)) << "it is like any other frame of the receiver's";
  EXPECT_EQ(one.mmu.allocate(one.held).value(), page);
  EXPECT_EQ(machine.peek(page, 7).raw(), 0U);
}

TEST_F(Transfer, leaves_the_frame_to_nobody_on_its_way) {
  ASSERT_TRUE(one.mmu.give_away(one.held, page));
  EXPECT_EQ(machine.frames.owner_tag(page), 0U);
  EXPECT_FALSE(map(one, tree, page));
  EXPECT_FALSE(one.mmu.give_away(one.held, page));
  EXPECT_FALSE(one.mmu.deallocate(one.held, page));
  while (const auto mfn = one.mmu.allocate(one.held)) EXPECT_NE(*mfn, page);
  one.mmu.drop_given(one.held, page);
  EXPECT_EQ(one.mmu.allocate(one.held).value(), page);
  EXPECT_EQ(machine.peek(page, 7).raw(), 0U) << "somebody else's data";
}

TEST_F(Transfer, is_of_frames_that_nothing_uses) {
  const Mfn special = one.mmu.allocate_special(one.held).value();
  EXPECT_EQ(refused(special), Rule::frame_special);
  EXPECT_EQ(refused(theirs.l1), Rule::frame_not_owned);
  EXPECT_EQ(refused(no_mfn), Rule::frame_not_owned);
  EXPECT_EQ(refused(tree.l1), Rule::frame_in_use);
  EXPECT_EQ(refused(tree.l4), Rule::frame_in_use);
  ASSERT_TRUE(map(one, tree, page));
  EXPECT_EQ(refused(page), Rule::frame_in_use);
  ASSERT_TRUE(one.mmu.deallocate(one.held, page));
  EXPECT_EQ(refused(page), Rule::frame_in_use) << "given back, and mapped still";
  const Mfn held = one.allocate(), read = one.allocate();
  ASSERT_TRUE(one.mmu.hold(one.held, held, FrameType::writable));
  EXPECT_EQ(refused(held), Rule::frame_in_use);
  one.mmu.release(one.held, held);
  ASSERT_TRUE(one.mmu.hold_readable(one.held, read));
  EXPECT_EQ(refused(read), Rule::frame_in_use);
  one.mmu.release_readable(one.held, read);
}

TEST_F(Transfer, is_of_no_descriptor_page_and_a_former_one_is_checked_anew) {  // XSA-214
  const Pte tss(std::uint64_t{0x0000890000000067});
  machine.poke(page, 7, Pte());
  ASSERT_TRUE(one.mmu.hold(one.held, page, FrameType::seg_desc));
  EXPECT_EQ(refused(page), Rule::frame_in_use);
  EXPECT_TRUE(one.mmu.owns(page));
  EXPECT_EQ(one.view.of(page), Access::read_only);
  one.mmu.release(one.held, page);
  machine.poke(page, 0, tss);
  ASSERT_TRUE(one.mmu.give_away(one.held, page));
  EXPECT_EQ(machine.frames[page].type, FrameType::none);
  EXPECT_FALSE(machine.frames[page].validated);
  ASSERT_TRUE(two.mmu.receive(two.held, page, Pfn(42)));
  EXPECT_EQ(two.mmu.hold(two.held, page, FrameType::seg_desc).error().rule, Rule::desc_system);
  machine.poke(page, 0, Pte());
  EXPECT_TRUE(two.mmu.hold(two.held, page, FrameType::seg_desc)) << "nothing else is wrong with it";
  two.mmu.release(two.held, page);
}

TEST_F(Transfer, stays_within_the_receivers_limit) {
  (void)two.allocate();
  EXPECT_FALSE(two.mmu.has_room());
  ASSERT_TRUE(one.mmu.give_away(one.held, page));
  EXPECT_EQ(two.mmu.receive(two.held, page, Pfn(1)).error().rule, Rule::domain_limit);
  EXPECT_FALSE(two.mmu.owns(page));
  EXPECT_EQ(two.view.of(page), Access::none);
  one.mmu.drop_given(one.held, page);
}

TEST_F(Transfer, does_not_happen_if_the_host_leaves_the_frame_in_the_view) {
  one.view.stuck = page;
  EXPECT_EQ(refused(page), Rule::view_cannot_lend);
  EXPECT_TRUE(one.mmu.owns(page));
  one.view.stuck = no_mfn;
  two.view.stuck = page;
  ASSERT_TRUE(one.mmu.give_away(one.held, page));
  EXPECT_EQ(two.mmu.receive(two.held, page, Pfn(1)).error().rule, Rule::view_cannot_lend);
  EXPECT_EQ(machine.frames.owner_tag(page), 0U);
  EXPECT_TRUE(one.mmu.receive(one.held, page, Pfn(1)));
  EXPECT_TRUE(map(one, tree, page));
}

}  // namespace
}  // namespace pinfold::pvmmu::test
