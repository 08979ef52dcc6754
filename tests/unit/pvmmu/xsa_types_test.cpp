// Xen's security advisories about frame types and their counts, tried on the validator.
#include <gtest/gtest.h>

#include "fake_machine.hpp"
#include "pvmmu/descriptor.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr std::uint64_t present_tss = 0x0000890000000067ULL;

class XsaTypes : public testing::Test {
 protected:
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
};

// A processor with a stale writable translation can store until the view has revoked it. So the check must
// read what the frame holds after that.
TEST_F(XsaTypes, a_store_up_to_the_moment_of_protection_is_seen_by_the_check) {  // XSA-241, 401, 402, 408
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4}) {
    const Mfn mfn = one.allocate();
    one.view.on_protect = [&](Mfn protected_frame) {
      if (protected_frame == mfn) machine.poke(mfn, 100, Pte(mfn, rw));
    };
    const auto before = state_of(frame(mfn));
    EXPECT_FALSE(one.mmu.pin(one.held, level, mfn)) << "its last store maps or names the table itself";
    EXPECT_EQ(state_of(frame(mfn)), before);
    EXPECT_EQ(one.view.of(mfn), FakeView::Access::read_write);
    one.view.on_protect = nullptr;
    machine.poke(mfn, 100, Pte());
  }
  const Mfn gdt = one.allocate();
  one.view.on_protect = [&](Mfn mfn) { machine.poke(mfn, 0, Pte(present_tss)); };
  EXPECT_FALSE(one.mmu.hold(one.held, gdt, FrameType::seg_desc));
  one.view.on_protect = nullptr;
}

TEST_F(XsaTypes, no_type_is_usable_before_its_frame_is_read_only) {  // XSA-401
  const Tree tree = build_tree(machine, one);
  one.view.on_protect = [&](Mfn mfn) {
    EXPECT_FALSE(frame(mfn).validated);
    EXPECT_EQ(frame(mfn).mirror, 0U) << "nothing that the processor walks comes from it yet";
  };
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
  one.view.on_protect = nullptr;
  EXPECT_EQ(one.view.protections, 4U);
}

TEST_F(XsaTypes, a_table_stays_read_only_until_its_last_reference_of_any_kind_goes) {  // XSA-241, 242
  const Tree tree = build_tree(machine, one);
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
  ASSERT_TRUE(update(tree.l2, 1, Pte(tree.l1, table)));
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, tree.l1));
  // Three references to a table are dropped one by one while its entries change.
  for (int step = 0; step < 3; ++step) {
    ASSERT_TRUE(update(tree.l1, static_cast<std::size_t>(step), Pte(tree.l1, ro)));
    EXPECT_EQ(one.view.of(tree.l1), FakeView::Access::read_only);
    EXPECT_FALSE(update(tree.l1, 9, Pte(tree.l1, rw)));
    if (step == 0) {
      ASSERT_TRUE(update(tree.l2, 1, Pte()));
    }
    if (step == 1) {
      ASSERT_TRUE(one.mmu.unpin(one.held, tree.l1));
    }
    if (step == 2) {
      ASSERT_TRUE(update(tree.l2, 0, Pte()));
    }
  }
  EXPECT_EQ(frame(tree.l1).type_count, 0U);
  EXPECT_EQ(frame(tree.l1).refs, 1U) << "its mappings of itself went with it";
  EXPECT_EQ(one.view.of(tree.l1), FakeView::Access::read_write);
}

TEST_F(XsaTypes, a_frame_that_changed_hands_brings_no_type_along) {  // XSA-214, 217, 287
  for (const FrameType type : {FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4,
                               FrameType::seg_desc, FrameType::writable}) {
    const Mfn mfn = one.allocate();
    ASSERT_TRUE(one.mmu.hold(one.held, mfn, type));
    EXPECT_FALSE(one.mmu.check_exchangeable(one.held, mfn)) << "in use";
    one.mmu.release(one.held, mfn);
    machine.poke(mfn, 0, Pte(present_tss));
    ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
    ASSERT_EQ(two.allocate(), mfn);
    EXPECT_EQ(frame(mfn).type, FrameType::none);
    EXPECT_FALSE(frame(mfn).validated);
    machine.poke(mfn, 0, Pte(present_tss));
    EXPECT_FALSE(two.mmu.hold(two.held, mfn, FrameType::seg_desc)) << "checked anew, whatever it was";
    ASSERT_TRUE(two.mmu.deallocate(two.held, mfn));
  }
}

TEST_F(XsaTypes, a_descriptor_page_cannot_be_exchanged_or_freed_while_it_is_one) {  // XSA-214
  const Mfn gdt = one.allocate();
  ASSERT_TRUE(one.mmu.hold(one.held, gdt, FrameType::seg_desc));
  EXPECT_FALSE(one.mmu.check_exchangeable(one.held, gdt));
  ASSERT_TRUE(one.mmu.deallocate(one.held, gdt));
  EXPECT_TRUE(one.mmu.owns(gdt));
  EXPECT_EQ(one.view.of(gdt), FakeView::Access::read_only);
  one.mmu.release(one.held, gdt);
  EXPECT_FALSE(one.mmu.owns(gdt));
}

TEST_F(XsaTypes, every_use_of_a_frame_number_leaves_the_count_where_it_was) {  // XSA-113, 45, 58
  const Mfn mfn = one.allocate();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(one.mmu.set_machphys(one.held, mfn, Pfn(i)));
    ASSERT_TRUE(one.mmu.clear_page(one.held, mfn));
    ASSERT_TRUE(update(mfn, 1, Pte(6)));
    ASSERT_TRUE(one.mmu.pin(one.held, Level::l2, mfn));
    EXPECT_FALSE(one.mmu.pin(one.held, Level::l2, mfn));
    EXPECT_FALSE(one.mmu.pin(one.held, Level::l3, mfn));
    ASSERT_TRUE(one.mmu.unpin(one.held, mfn));
    EXPECT_FALSE(one.mmu.unpin(one.held, mfn));
    one.mmu.stale_entries_settled(one.held, one.stale.end());
  }
  EXPECT_EQ(frame(mfn).refs, 1U);
  EXPECT_EQ(frame(mfn).type_count, 0U);
  ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
  EXPECT_FALSE(one.mmu.owns(mfn));
}

TEST_F(XsaTypes, a_protection_that_fails_undoes_the_reference) {  // XSA-291
  const Tree tree = build_tree(machine, one);
  const auto before = snapshot(machine.frames);
  for (std::uint64_t at = 0; at < 4; ++at) {
    one.view.fail_at = one.view.protections + at;
    EXPECT_EQ(one.mmu.pin(one.held, Level::l4, tree.l4).error().rule, Rule::view_cannot_protect);
    EXPECT_EQ(snapshot(machine.frames), before);
  }
  one.view.fail_at = FakeView::never;
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
}

TEST_F(XsaTypes, a_chain_of_roots_is_refused_however_it_is_built) {  // XSA-240, 309
  std::array<Mfn, 8> chain;
  for (Mfn& mfn : chain) mfn = one.allocate();
  for (const std::uint64_t flags : {ro, table}) {
    // From the last one back: each table names one that is already a root, and so does not become a root.
    ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, chain.back()));
    for (std::size_t i = 0; i + 1 < chain.size(); ++i) machine.poke(chain[i], 0, Pte(chain.back(), flags));
    const auto before = snapshot(machine.frames);
    for (std::size_t i = 0; i + 1 < chain.size(); ++i)
      EXPECT_FALSE(one.mmu.pin(one.held, Level::l4, chain[i]));
    EXPECT_EQ(snapshot(machine.frames), before);
    ASSERT_TRUE(one.mmu.unpin(one.held, chain.back()));
    // One after the other becomes a valid root; then they are linked.
    for (const Mfn mfn : chain) machine.poke(mfn, 0, Pte());
    for (const Mfn mfn : chain) ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, mfn));
    for (std::size_t i = 0; i + 1 < chain.size(); ++i)
      EXPECT_EQ(update(chain[i], 0, Pte(chain[i + 1], flags)).error().rule, Rule::upper_linear);
    for (const Mfn mfn : chain) ASSERT_TRUE(one.mmu.unpin(one.held, mfn));
  }
}

TEST_F(XsaTypes, a_loaded_root_that_is_given_up_everywhere_else_stays_what_it_is) {  // XSA-438
  const Tree tree = build_tree(machine, one);
  Mfn root = no_mfn;
  ASSERT_TRUE(one.mmu.load_root(one.held, root, tree.l4));
  ASSERT_TRUE(one.mmu.deallocate(one.held, tree.l4));
  ASSERT_TRUE(one.mmu.deallocate(one.held, tree.l1));
  EXPECT_TRUE(one.mmu.owns(tree.l4));
  EXPECT_EQ(frame(tree.l4).type, FrameType::l4);
  const MirrorId walked(frame(tree.l4).mirror);
  one.mmu.unload_root(one.held, root);
  // A processor may have the old root loaded until it is told to flush.
  std::vector<MirrorId> taken;
  for (auto mirror = one.mirrors.take(); mirror; mirror = one.mirrors.take()) {
    EXPECT_NE(*mirror, walked);
    taken.push_back(*mirror);
  }
  for (const MirrorId mirror : taken) one.mirrors.give_back(mirror);
}

TEST_F(XsaTypes, the_view_forgets_a_frame_before_anyone_can_take_it) {  // XSA-222
  const Mfn mfn = one.allocate();
  const auto free = machine.frames.free_frames();
  bool asked = false;
  one.view.on_revoke = [&](Mfn revoked) {
    asked = true;
    EXPECT_EQ(revoked, mfn);
    EXPECT_EQ(machine.frames.free_frames(), free);
  };
  ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
  one.view.on_revoke = nullptr;
  EXPECT_TRUE(asked);
  EXPECT_EQ(machine.frames.free_frames(), free + 1);
}

TEST_F(XsaTypes, a_frame_that_can_not_leave_the_view_stays_the_domains) {  // XSA-222
  const Mfn l1 = one.allocate(), mfn = one.allocate();
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  one.view.stuck = mfn;
  for (int round = 0; round < 2; ++round) {
    // The frame is given back at once, or with the last mapping of it.
    if (round == 1) {
      ASSERT_TRUE(update(l1, 0, Pte(mfn, rw)));
    }
    ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
    ASSERT_TRUE(update(l1, 0, Pte()));
    EXPECT_TRUE(one.mmu.owns(mfn));
    EXPECT_EQ(one.mmu.allocated_frames(), 2U);
    while (const auto taken = two.mmu.allocate(two.held)) EXPECT_NE(*taken, mfn);
  }
  one.view.stuck = no_mfn;
  ASSERT_TRUE(one.mmu.deallocate(one.held, mfn));
  EXPECT_FALSE(one.mmu.owns(mfn));
}

TEST_F(XsaTypes, a_domain_that_ends_in_the_middle_of_anything_leaves_no_frame) {  // XSA-207, 253, 310
  const Tree tree = build_tree(machine, one);
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4));
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l2, tree.l2));
  const Mfn page = one.allocate();
  ASSERT_TRUE(update(tree.l1, 0, Pte(page, rw)));
  ASSERT_TRUE(one.mmu.deallocate(one.held, page));
  ASSERT_TRUE(one.mmu.deallocate(one.held, tree.l4));
  machine.poke(one.allocate(), 0, Pte(tree.l4, rw));
  EXPECT_EQ(one.mmu.destroy(one.held), 0U);
  EXPECT_EQ(one.mmu.allocated_frames(), 0U);
  for (std::uint64_t i = 0; i < machine.frames.size(); ++i) EXPECT_FALSE(one.mmu.owns(Mfn(i)));
}

}  // namespace
}  // namespace pinfold::pvmmu::test
