// A machine that grows while its domains run: what they have stays as it is, and a domain knows of the new
// frames from the moment at which it is told, not before.
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr std::uint64_t before = 64, after = 128;

class GrowingMachine : public testing::Test {
 protected:
  /// As vmm/memory/machine.cpp does it.
  void grow() {
    ASSERT_TRUE(machine.frames.make_room(after));
    ASSERT_TRUE(one.mmu.make_room(after));
    one.mmu.machine_grew(one.held, after);
    machine.frames.grow(after);
  }
  /// Makes an entry of the domain's L1 name the frame.
  Verdict<> name(Mfn frame) {
    return one.mmu.update(one.held, entry_at(l1, 0), Pte(frame, rw), Preserve::nothing);
  }

  FakeMachine machine{before, after};
  FakeDomain one{machine, DomId(1)};
  Mfn data = one.allocate();
  Mfn l1 = one.allocate();
};

TEST_F(GrowingMachine, keeps_what_its_domains_have) {
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  ASSERT_TRUE(name(data));
  const Frame table_then = one.mmu.frame(l1), data_then = one.mmu.frame(data);
  grow();
  for (const auto& [then, mfn] : {std::pair(table_then, l1), std::pair(data_then, data)}) {
    const Frame now = one.mmu.frame(mfn);
    EXPECT_EQ(now.refs, then.refs);
    EXPECT_EQ(now.type_count, then.type_count);
    EXPECT_EQ(now.type, then.type);
    EXPECT_EQ(now.mirror, then.mirror);
    EXPECT_EQ(now.owner_plus_1, then.owner_plus_1);
  }
  EXPECT_EQ(one.findings(), std::vector<std::string>());
}

TEST_F(GrowingMachine, has_no_new_frame_for_a_domain_before_it_is_told) {
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  const Mfn past(before + 3);
  EXPECT_EQ(name(past).error().rule, Rule::l1_no_such_frame);
  EXPECT_FALSE(one.mmu.contains(past));
  ASSERT_TRUE(machine.frames.make_room(after));
  ASSERT_TRUE(one.mmu.make_room(after));
  EXPECT_EQ(name(past).error().rule, Rule::l1_no_such_frame);
  one.mmu.machine_grew(one.held, after);
  EXPECT_EQ(name(past).error().rule, Rule::l1_foreign_frame);
  EXPECT_TRUE(one.mmu.contains(past));
  EXPECT_EQ(one.mmu.pin(one.held, Level::l1, past).error().rule, Rule::frame_not_owned);
}

TEST_F(GrowingMachine, gives_its_new_frames_to_old_and_new_domains) {
  while (one.mmu.allocate(one.held)) {
  }
  grow();
  FakeDomain two{machine, DomId(2)};
  const Mfn of_two = two.mmu.allocate(two.held, 32).value();
  const Mfn of_one = one.allocate();
  EXPECT_GE(of_two.raw(), before);
  EXPECT_GE(of_one.raw(), before);
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, l1));
  EXPECT_EQ(name(of_two).error().rule, Rule::l1_foreign_frame);
  EXPECT_TRUE(name(of_one)) << "short way of an update of an L1 entry, past the old end";
  EXPECT_EQ(one.mmu.frame(of_one).type, FrameType::writable);
  EXPECT_EQ(one.findings(), std::vector<std::string>());
  EXPECT_EQ(two.findings(), std::vector<std::string>());
  EXPECT_EQ(one.mmu.destroy(one.held), 0U);
  EXPECT_EQ(two.mmu.destroy(two.held), 0U);
  EXPECT_EQ(machine.frames.free_frames(), after - 1);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
