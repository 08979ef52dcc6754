// A mirror is used again, and a log entry forgotten, only when the last processor has said that it remembers
// nothing.
#include "pvmmu/flush_epochs.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr VcpuId first{0}, second{1}, third{2};

TEST(FlushEpochs, are_forgotten_when_the_slowest_vcpu_says_so) {
  FlushEpochs epochs;
  epochs.started(first);
  epochs.started(second);
  const Epoch a = epochs.close(), b = epochs.close();
  EXPECT_LT(epochs.forgotten_by_all(), a);
  epochs.forgot(first, b);
  EXPECT_LT(epochs.forgotten_by_all(), a);
  EXPECT_TRUE(epochs.owes(second, a));
  EXPECT_FALSE(epochs.owes(first, b));
  epochs.forgot(second, a);
  EXPECT_EQ(epochs.forgotten_by_all(), a);
  EXPECT_TRUE(epochs.owes(second, b));
  epochs.forgot(second, b);
  EXPECT_EQ(epochs.forgotten_by_all(), b);
}

TEST(FlushEpochs, do_not_wait_for_a_vcpu_that_has_stopped_and_do_for_one_that_started_again) {
  FlushEpochs epochs;
  epochs.started(first);
  epochs.started(third);  // the second never runs
  const Epoch a = epochs.close();
  epochs.forgot(first, a);
  epochs.stopped(third);
  EXPECT_EQ(epochs.forgotten_by_all(), a);
  epochs.forgot(third, a);
  EXPECT_FALSE(epochs.owes(third, a));
  epochs.started(third);
  EXPECT_EQ(epochs.forgotten_by_all(), a) << "it comes with nothing remembered";
  const Epoch b = epochs.close();
  epochs.forgot(first, b);
  EXPECT_EQ(epochs.forgotten_by_all(), a);
}

TEST(FlushEpochs, never_take_a_word_back_or_for_an_epoch_that_is_still_open) {
  FlushEpochs epochs;
  epochs.started(first);
  const Epoch a = epochs.close();
  epochs.forgot(first, a.plus(10));
  EXPECT_EQ(epochs.forgotten_by_all(), a);
  const Epoch b = epochs.close();
  EXPECT_EQ(epochs.forgotten_by_all(), a);
  epochs.forgot(first, b);
  epochs.forgot(first, a);
  EXPECT_EQ(epochs.forgotten_by_all(), b);
}

TEST(MirrorArena, waits_for_every_vcpu_before_a_mirror_is_used_again) {
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1), {.mirrors = 1}};
  one.mmu.vcpu_started(one.held, first);
  one.mmu.vcpu_started(one.held, second);
  const Mfn a = one.allocate(), b = one.allocate();
  const auto pin = [&](Mfn mfn) { return one.mmu.pin(one.held, Level::l1, mfn).has_value(); };
  ASSERT_TRUE(pin(a));
  ASSERT_TRUE(one.mmu.unpin(one.held, a));
  const Epoch epoch = one.mmu.begin_flush(one.held);
  EXPECT_FALSE(pin(b));
  one.mmu.flushed(one.held, first, epoch);
  EXPECT_FALSE(pin(b)) << "the second vCPU's processor may still walk it";
  EXPECT_TRUE(one.mmu.owes_flush(second, epoch));
  one.mmu.flushed(one.held, second, epoch);
  EXPECT_TRUE(pin(b));
}

TEST(MirrorArena, keeps_a_mirror_that_was_given_up_after_the_flush_began) {
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1), {.mirrors = 1}};
  one.mmu.vcpu_started(one.held, first);
  const Mfn a = one.allocate();
  ASSERT_TRUE(one.mmu.pin(one.held, Level::l1, a));
  const Epoch epoch = one.mmu.begin_flush(one.held);
  ASSERT_TRUE(one.mmu.unpin(one.held, a));
  one.mmu.flushed(one.held, first, epoch);
  EXPECT_FALSE(one.mmu.pin(one.held, Level::l1, a));
  EXPECT_EQ(one.mirrors.retired(), 1U);
  one.mmu.vcpu_stopped(one.held, first);
  EXPECT_EQ(one.mirrors.retired(), 1U) << "no epoch has ended since";
  one.mmu.flushed(one.held, first, one.mmu.begin_flush(one.held));
  EXPECT_TRUE(one.mmu.pin(one.held, Level::l1, a));
}

/// Processors that remember every mirror that is live while they run: none may become another table's under
/// them.
TEST(MirrorArena, never_gives_out_a_mirror_that_a_processor_remembers) {
  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1), {.mirrors = 24}};
  std::vector<Mfn> tables;
  for (int i = 0; i < 12; ++i) tables.push_back(one.allocate());
  constexpr std::uint32_t vcpus = 3;
  std::array<std::map<std::uint32_t, Mfn>, vcpus> remembered;  // mirror -> table, by processor
  std::array<Epoch, vcpus> begun{};
  std::mt19937 random(1);
  std::uint64_t reused = 0;
  for (std::uint32_t v = 0; v < vcpus; ++v) one.mmu.vcpu_started(one.held, VcpuId(v));
  for (int i = 0; i < 20000; ++i) {
    const Mfn mfn = tables[random() % tables.size()];
    const auto v = static_cast<std::uint32_t>(random() % vcpus);
    switch (random() % 5) {
      case 0:
      case 1:
        if (one.mmu.pin(one.held, Level::l1, mfn)) {
          const std::uint32_t mirror = machine.frames[mfn].mirror;
          reused += one.mirrors.end().raw() == 25 ? 1 : 0;
          for (const auto& memory : remembered) ASSERT_FALSE(memory.contains(mirror)) << "step " << i;
        }
        break;
      case 2: (void)one.mmu.unpin(one.held, mfn); break;
      case 3: begun[v] = one.mmu.begin_flush(one.held); break;
      default:
        if (begun[v] == Epoch()) break;
        // The processor forgets now; what is live it will remember again at once.
        remembered[v].clear();
        one.mmu.flushed(one.held, VcpuId(v), begun[v]);
        begun[v] = Epoch();
    }
    for (auto& memory : remembered)
      for (const Mfn table : tables)
        if (const std::uint32_t mirror = machine.frames[table].mirror; mirror != 0)
          memory.emplace(mirror, table);
  }
  EXPECT_GT(reused, 100U) << "nothing was used again: this proves little";
}

TEST(StaleLog, is_read_by_each_processor_from_where_it_was) {
  StaleLog log(true);
  for (std::uint32_t i = 1; i <= 4; ++i) log.changed(MirrorId(i), i, Pte());
  const StaleLog::Position slow = log.begin() + 1, fast = log.end();
  log.changed(MirrorId(9), 9, Pte());
  EXPECT_EQ(log.from(slow).size(), 4U);
  EXPECT_EQ(log.from(fast).size(), 1U);
  EXPECT_EQ(log.from(fast).front().table, MirrorId(9));
  log.drop_before(slow);
  EXPECT_EQ(log.begin(), slow);
  EXPECT_EQ(log.from(slow).front().table, MirrorId(2));
  EXPECT_EQ(log.from(fast).front().table, MirrorId(9));
  log.drop_before(0);
  EXPECT_EQ(log.from(0).size(), 4U);
  log.drop_before(log.end() + 5);
  EXPECT_TRUE(log.empty());
  EXPECT_TRUE(log.from(log.end() + 5).empty());
}

}  // namespace
}  // namespace pinfold::pvmmu::test
