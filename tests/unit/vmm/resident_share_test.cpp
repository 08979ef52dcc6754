// The domain's lock, shared with code in the VM: who waits for whom, and what a flag that lies is worth.
#include "vmm/gate/resident_share.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "vmm/gate/inside.hpp"

namespace pinfold::vmm {
namespace {

using gate::ControlPage;
using gate::Inside;
using gate::StatePage;
using gate::TableLocks;

struct Scene {
  std::array<StatePage, 2> states{};
  ControlPage control{};
  bool usable = true;
  std::atomic<int> kicks{0};
  std::function<void(VcpuId)> on_kick = [](VcpuId) {};
  std::vector<VcpuId> settled;
  ResidentShare share{{{&states[0].resident_flags, &states[1].resident_flags},
                       control,
                       usable,
                       [this](VcpuId cpu) {
                         ++kicks;
                         on_kick(cpu);
                       },
                       [this](pvmmu::Held, VcpuId cpu) {
                         for (const StatePage& state : states) EXPECT_EQ(state.resident_flags.inside, 0U);
                         settled.push_back(cpu);
                       }}};
  pvmmu::DomainMutex mutex;
  Scene() { mutex.share_with(&share); }
};

TEST(ResidentShare, keeps_code_in_the_vm_out_while_the_lock_is_held_alone) {
  Scene s;
  s.share.enters(VcpuId(0));
  {
    const pvmmu::DomainLock lock(s.mutex);
    EXPECT_FALSE(Inside(s.states[0], s.control));
    EXPECT_EQ(s.states[0].resident_flags.inside, 0U);
    EXPECT_EQ(s.states[0].resident_kept_out, 1U);
  }
  const Inside inside(s.states[0], s.control);
  EXPECT_TRUE(inside);
  EXPECT_EQ(s.states[0].resident_flags.inside, 1U);
}

TEST(ResidentShare, waits_until_those_inside_have_left) {
  Scene s;
  s.share.enters(VcpuId(1));
  auto inside = std::make_unique<Inside>(s.states[1], s.control);
  ASSERT_TRUE(*inside);
  std::atomic<bool> has_it = false;
  std::thread other([&] {
    const pvmmu::DomainLock lock(s.mutex);
    has_it = true;
  });
  while (std::atomic_ref(s.control.taken).load() == 0 && !has_it) std::this_thread::yield();
  EXPECT_FALSE(has_it);
  EXPECT_FALSE(Inside(s.states[0], s.control));
  inside.reset();
  other.join();
  EXPECT_TRUE(has_it);
  EXPECT_EQ(s.mutex.waits(), 1U);
}

TEST(ResidentShare, does_not_believe_the_flag_of_a_vcpu_that_is_not_in_the_guest) {
  Scene s;
  s.states[0].resident_flags.inside = 1;
  { const pvmmu::DomainLock lock(s.mutex); }
  EXPECT_EQ(s.mutex.waits(), 0U);
}

TEST(ResidentShare, makes_a_vcpu_leave_whose_flag_stays_set) {
  Scene s;
  s.share.enters(VcpuId(0));
  s.states[0].resident_flags.inside = 1;
  std::atomic<bool> lied = false;
  s.on_kick = [&](VcpuId cpu) { lied = s.share.leaves(cpu); };
  { const pvmmu::DomainLock lock(s.mutex); }
  EXPECT_TRUE(lied);
  EXPECT_GE(s.kicks, 1);
  EXPECT_EQ(s.states[0].resident_flags.inside, 0U);
}

TEST(ResidentShare, a_vcpu_that_leaves_with_the_lock_gives_up_its_tables_and_no_other_ones) {
  Scene s;
  s.share.enters(VcpuId(0));
  s.share.enters(VcpuId(1));
  s.control.tables[3].owner = 1;
  s.control.tables[4].owner = 2;
  EXPECT_FALSE(s.share.leaves(VcpuId(1)));
  EXPECT_EQ(s.control.tables[4].owner, 2U);  // nobody looks unless the flag is set
  s.states[0].resident_flags.inside = 1;
  EXPECT_TRUE(s.share.leaves(VcpuId(0)));
  EXPECT_EQ(s.control.tables[3].owner, 0U);
  EXPECT_EQ(s.control.tables[4].owner, 2U);
}

TEST(ResidentShare, lets_nobody_in_any_more_once_the_gate_may_not_work) {
  Scene s;
  s.share.enters(VcpuId(0));
  {
    const pvmmu::DomainLock lock(s.mutex);
    s.usable = false;
  }
  EXPECT_FALSE(Inside(s.states[0], s.control));
}

TEST(ResidentShare, settles_the_roots_that_the_gate_has_loaded_before_the_lock_is_held) {
  Scene s;
  s.share.enters(VcpuId(1));
  {
    const Inside inside(s.states[1], s.control);
    ASSERT_TRUE(inside);
    s.states[1].resident_flags.roots_moved = 1;
  }
  {
    const pvmmu::DomainLock lock(s.mutex);
    EXPECT_EQ(s.settled, std::vector{VcpuId(1)});
  }
  { const pvmmu::DomainLock lock(s.mutex); }
  EXPECT_EQ(s.settled.size(), 1U) << "nothing has moved since";
}

TEST(ResidentShare, settles_only_when_nobody_is_inside_any_more) {
  Scene s;
  s.share.enters(VcpuId(0));
  s.share.enters(VcpuId(1));
  s.states[0].resident_flags.roots_moved = 1;
  auto inside = std::make_unique<Inside>(s.states[1], s.control);
  ASSERT_TRUE(*inside);
  std::thread other([&] { const pvmmu::DomainLock lock(s.mutex); });
  while (std::atomic_ref(s.control.taken).load() == 0) std::this_thread::yield();
  inside.reset();
  other.join();
  EXPECT_EQ(s.settled, std::vector{VcpuId(0)});
}

TEST(ResidentShare, tells_how_many_frames_there_are) {
  Scene s;
  s.share.set_frames(77);
  EXPECT_EQ(s.control.frames, 77U);
}

TEST(TableLocks, are_had_by_one_at_a_time) {
  ControlPage control{};
  const TableLocks first{control, 1}, second{control, 2};
  {
    const auto locked = first.lock(Mfn(5));
    ASSERT_TRUE(locked);
    EXPECT_FALSE(second.lock(Mfn(5)));
    EXPECT_EQ(control.lock_of(Mfn(5)).owner, 1U);
  }
  EXPECT_TRUE(second.lock(Mfn(5)));
  EXPECT_EQ(control.lock_of(Mfn(5)).owner, 0U);
}

TEST(TableLocks, of_tables_side_by_side_are_not_one) {
  ControlPage control{};
  for (std::uint64_t mfn = 1000; mfn < 1320; ++mfn) ++control.lock_of(Mfn(mfn)).owner;
  for (const ControlPage::TableLock& lock : control.tables) EXPECT_LT(lock.owner, 20U);
}

}  // namespace
}  // namespace pinfold::vmm
