// Entries that are changed while the domain's lock is shared: the result is the same as with the lock held
// alone, and nothing is done where more than the plain change of an L1 entry is needed.
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

struct ConcurrentUpdate : testing::Test {
  ConcurrentUpdate() { EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4)); }
  [[nodiscard]] EntryUpdate l1(std::size_t slot, Pte want) const { return {entry_at(tree.l1, slot), want}; }
  [[nodiscard]] bool alone(const EntryUpdate& u) {
    return one.mmu.update(one.held, u.where, u.want, Preserve::nothing).has_value();
  }
  [[nodiscard]] Pte stored(std::size_t slot) const { return machine.peek(tree.l1, slot); }
  [[nodiscard]] Pte mirrored(std::size_t slot) const {
    return one.mirrors.load(MirrorId(one.mmu.frame(tree.l1).mirror), slot);
  }
  /// Expects that the update is not made, and that nothing changes.
  void left_alone(const EntryUpdate& update) {
    const auto before = snapshot(machine.frames);
    const std::uint64_t there = machine.memory.pages().at(update.where.raw() & ~7ULL).load();
    EXPECT_EQ(one.update_concurrently({update}), 0U);
    EXPECT_EQ(snapshot(machine.frames), before);
    EXPECT_EQ(machine.memory.pages().at(update.where.raw() & ~7ULL).load(), there);
  }

  FakeMachine machine{256};
  FakeDomain one{machine, DomId(1)}, two{machine, DomId(2)};
  Tree tree = build_tree(machine, one);
  Mfn frame = one.allocate(), other = one.allocate();
};

TEST_F(ConcurrentUpdate, the_same_comes_of_it_as_with_the_lock_held_alone) {
  constexpr auto dirty = rw | bit::dirty;
  for (const Pte want : {Pte(frame, rw), Pte(frame, dirty), Pte(frame, ro), Pte(other, dirty), Pte(other, ro),
                         Pte(), Pte(0x1230), Pte(frame, bit::present | bit::writable)}) {
    ASSERT_TRUE(alone(l1(1, want)));
    const MmuCounters before = one.mmu.counters();
    ASSERT_EQ(one.update_concurrently({l1(2, want)}), 1U);
    EXPECT_EQ(stored(2), stored(1));
    EXPECT_EQ(mirrored(2), mirrored(1));
    EXPECT_EQ(one.mmu.counters().entries_stored, before.entries_stored + 1);
    EXPECT_EQ(one.mmu.counters().entries_checked, before.entries_checked + (want.present() ? 1 : 0));
    EXPECT_EQ(one.findings(), std::vector<std::string>());
  }
}

TEST_F(ConcurrentUpdate, a_list_is_done_up_to_what_needs_the_lock_alone) {
  EXPECT_EQ(one.update_concurrently({l1(1, Pte(frame, rw)),
                                     l1(2, Pte(other, ro)),
                                     {entry_at(tree.l2, 5), Pte()},
                                     l1(3, Pte(frame, rw))}),
            2U);
  EXPECT_EQ(stored(2).mfn(), other);
  EXPECT_EQ(stored(3), Pte());
  EXPECT_EQ(one.mmu.frame(frame).refs, 2U);
}

TEST_F(ConcurrentUpdate, what_is_no_l1_is_left_alone) {
  left_alone({entry_at(tree.l4, 5), Pte()});
  left_alone({entry_at(tree.l2, 5), Pte(tree.l1, table)});
  left_alone({entry_at(frame, 5), Pte(other, rw)});
  left_alone({entry_at(two.allocate(), 5), Pte(other, rw)});
  EXPECT_EQ(one.update_concurrently({{MachineAddr(machine.frames.size() * page_size), Pte()}}), 0U);
  EXPECT_EQ(one.update_concurrently({{MachineAddr(~7ULL), Pte()}}), 0U);
}

TEST_F(ConcurrentUpdate, what_would_be_refused_is_left_alone) {
  left_alone(l1(1, Pte(tree.l1, rw)));
  left_alone(l1(1, Pte(two.allocate(), ro)));
  left_alone(l1(1, Pte(Mfn(machine.frames.size()), ro)));
  left_alone(l1(1, Pte(all_ones_frame, ro)));
  left_alone(l1(1, Pte(frame, rw | bit::cache_disable)));
}

TEST_F(ConcurrentUpdate, a_frame_that_the_guest_gave_up_is_neither_named_nor_freed) {
  ASSERT_TRUE(alone(l1(1, Pte(frame, rw))));
  ASSERT_TRUE(one.mmu.deallocate(one.held, frame));
  left_alone(l1(2, Pte(frame, ro)));
  left_alone(l1(1, Pte(other, ro)));  // would drop its last reference
  EXPECT_TRUE(alone(l1(1, Pte(other, ro))));
  EXPECT_FALSE(one.mmu.owns(frame));
}

TEST_F(ConcurrentUpdate, nothing_is_done_while_somebody_watches) {
  struct Nobody final : TraceSink {
    void started(const ValidatorParts&) override {}
    void operation_begins() override {}
    void vcpu_entered(VcpuId, GuestVaddr, std::uint64_t) override {}
    void event(const TraceEvent&) override {}
  } sink;
  FakeDomain watched(machine, DomId(3), {.trace = &sink});
  const Tree t = build_tree(machine, watched);
  ASSERT_TRUE(watched.mmu.pin(watched.held, Level::l4, t.l4));
  const Mfn data = watched.allocate();
  EXPECT_EQ(watched.update_concurrently({{entry_at(t.l1, 1), Pte(data, rw)}}), 0U);
  EXPECT_FALSE(watched.try_hold_writable(data));
  ASSERT_TRUE(watched.mmu.hold(watched.held, data, FrameType::writable));
  EXPECT_FALSE(watched.try_release_writable(data));
}

struct ConcurrentHold : ConcurrentUpdate {
  /// Expects that hold() or release() has to be called instead, and that nothing changes.
  void hold_left_alone(Mfn mfn) {
    const auto before = snapshot(machine.frames);
    EXPECT_FALSE(one.try_hold_writable(mfn));
    EXPECT_EQ(snapshot(machine.frames), before);
  }
  void release_left_alone(Mfn mfn) {
    const auto before = snapshot(machine.frames);
    EXPECT_FALSE(one.try_release_writable(mfn));
    EXPECT_EQ(snapshot(machine.frames), before);
  }
};

TEST_F(ConcurrentHold, counts_as_a_hold_with_the_lock_alone_does) {
  ASSERT_TRUE(one.mmu.hold(one.held, other, FrameType::writable));
  ASSERT_TRUE(one.try_hold_writable(frame));
  for (const Mfn held : {frame, other}) {
    EXPECT_EQ(one.mmu.frame(held).type, FrameType::writable);
    EXPECT_EQ(one.mmu.frame(held).type_count, 1U);
    EXPECT_EQ(one.mmu.frame(held).refs, 2U);
  }
  EXPECT_FALSE(one.mmu.pin(one.held, Level::l1, frame));
}

TEST_F(ConcurrentHold, each_way_to_take_one_goes_with_each_way_to_release_it) {
  ASSERT_TRUE(one.try_hold_writable(frame));
  one.mmu.release(one.held, frame);
  ASSERT_TRUE(one.mmu.hold(one.held, frame, FrameType::writable));
  ASSERT_TRUE(one.try_release_writable(frame));
  EXPECT_EQ(one.mmu.frame(frame).type_count, 0U);
  EXPECT_EQ(one.mmu.frame(frame).refs, 1U);
  EXPECT_EQ(one.findings(), std::vector<std::string>());
  EXPECT_TRUE(one.mmu.pin(one.held, Level::l1, frame));
}

TEST_F(ConcurrentHold, what_hold_would_refuse_is_left_alone) {
  hold_left_alone(tree.l1);
  hold_left_alone(tree.l4);
  hold_left_alone(two.allocate());
  hold_left_alone(Mfn(machine.frames.size()));
  hold_left_alone(no_mfn);
  const Mfn descriptors = one.allocate();
  ASSERT_TRUE(one.mmu.hold(one.held, descriptors, FrameType::seg_desc));
  hold_left_alone(descriptors);
  release_left_alone(descriptors);
}

TEST_F(ConcurrentHold, counts_no_further_than_the_most_references) {
  ASSERT_TRUE(one.try_hold_writable(frame));
  one.records().holds(frame) = max_references;
  hold_left_alone(frame);
  one.records().holds(frame) = 1;
}

TEST_F(ConcurrentHold, a_frame_that_the_guest_gave_up_is_released_with_the_lock_alone) {
  ASSERT_TRUE(one.try_hold_writable(frame));
  ASSERT_TRUE(one.mmu.deallocate(one.held, frame));
  hold_left_alone(frame);
  release_left_alone(frame);
  EXPECT_TRUE(one.mmu.owns(frame));
  one.mmu.release(one.held, frame);
  EXPECT_FALSE(one.mmu.owns(frame));
}

TEST_F(ConcurrentHold, a_page_of_the_monitors_own_is_left_alone) {
  const Mfn special = one.mmu.allocate_special(one.held).value();
  hold_left_alone(special);
  release_left_alone(special);
}

TEST_F(ConcurrentUpdate, what_a_processor_may_have_cached_is_in_the_log) {
  ASSERT_TRUE(alone(l1(1, Pte(frame, rw | bit::dirty))));
  const std::uint64_t before = one.stale.end();
  ASSERT_EQ(one.update_concurrently({l1(1, Pte(frame, ro))}), 1U);
  ASSERT_EQ(one.stale.end(), before + 1);
  EXPECT_EQ(one.stale.entries().back().slot, 1);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
