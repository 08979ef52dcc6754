// When the way into the guest leads through an entry stub, and what counts as done by it.
#include "vmm/cpu/entry_stubs.hpp"

#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::vmm {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;

constexpr VcpuId me{0};
constexpr std::uint64_t cr3 = 0x123000;

struct Scene {
  explicit Scene(bool shadowed)
      : domain(machine, DomId(1), {.mirrors = 512, .stale_log = shadowed}),
        duties(2, shadowed),
        stubs({me, shadowed, domain.mmu, domain.stale, gate, duties, statistics}) {}

  [[nodiscard]] std::optional<EntryStubs::Stub> prepare(bool through_iret = false) {
    std::optional<EntryStubs::Stub> stub;
    stubs.prepare(domain.held, stub, cr3, through_iret);
    return stub;
  }

  FakeMachine machine{600};
  FakeDomain domain;
  std::unique_ptr<Arena> arena =
      Arena::create(first_monitor_frame, Gate::pages_needed(1, 2048), 2048).value();
  Gate gate{*arena, 1, HostTraits{}, Mfn(0x4000000), page_size};
  FlushDuties duties;
  Statistics statistics;
  EntryStubs stubs;
};

TEST(EntryStubs, nothing_due_takes_no_stub) {
  for (const bool shadowed : {false, true}) {
    Scene s(shadowed);
    EXPECT_FALSE(s.prepare());
    EXPECT_FALSE(s.stubs.under_way());
    EXPECT_EQ(s.statistics.entry_stubs, 0U);
  }
}

TEST(EntryStubs, a_flush_that_is_due_is_handed_over_to_a_stub_that_loads_cr3) {
  Scene s(false);
  s.duties.request(me);
  const auto stub = s.prepare();
  ASSERT_TRUE(stub);
  EXPECT_TRUE(stub->code.drops_translations());
  EXPECT_FALSE(stub->leaves);
  EXPECT_FALSE(s.duties.due(me));
  EXPECT_TRUE(s.stubs.under_way());
  s.stubs.finished(s.domain.held);
  EXPECT_FALSE(s.stubs.under_way());
}

TEST(EntryStubs, selectors_that_only_an_iretq_loads_take_a_stub) {
  Scene s(false);
  EXPECT_TRUE(s.prepare(true));
  EXPECT_EQ(s.statistics.entry_stubs, 1U);
}

TEST(EntryStubs, a_stub_that_was_interrupted_is_made_again) {
  Scene s(false);
  s.duties.request(me);
  ASSERT_TRUE(s.prepare());
  s.stubs.interrupted();
  EXPECT_TRUE(s.stubs.under_way());
  EXPECT_TRUE(s.duties.due(me));
  EXPECT_TRUE(s.prepare());
}

/// One L1 in a pinned tree, with `count` mappings, and then without them.
struct Shadowed : Scene {
  explicit Shadowed(std::size_t count, std::size_t tables = 1) : Scene(true) {
    const Mfn data = domain.allocate();
    for (std::size_t t = 0; t < tables; ++t) {
      const Mfn l1 = domain.allocate();
      for (std::size_t i = 0; i < count; ++i) machine.poke(l1, i, Pte(data, rw));
      EXPECT_TRUE(domain.mmu.pin(domain.held, Level::l1, l1));
      for (std::size_t i = 0; i < count; ++i)
        EXPECT_TRUE(domain.mmu.update(domain.held, entry_at(l1, i), Pte(), Preserve::nothing));
    }
  }
};

TEST(EntryStubs, stale_entries_are_refreshed_when_a_flush_asks_for_it) {
  Shadowed s(3);
  ASSERT_EQ(s.domain.stale.entries().size(), 3U);
  EXPECT_FALSE(s.prepare()) << "nobody asked for a flush";
  s.duties.request(me);
  const auto stub = s.prepare();
  ASSERT_TRUE(stub);
  EXPECT_FALSE(stub->code.empty());
  EXPECT_FALSE(stub->leaves);
  EXPECT_FALSE(s.duties.due(me));
  EXPECT_EQ(s.statistics.entry_stub_steps, 3U);
  EXPECT_EQ(s.domain.stale.entries().size(), 3U) << "the stub has not run yet";
  s.stubs.finished(s.domain.held);
  EXPECT_TRUE(s.domain.stale.empty());
}

TEST(EntryStubs, an_interrupted_stub_settles_nothing) {
  Shadowed s(3);
  s.duties.request(me);
  ASSERT_TRUE(s.prepare());
  s.stubs.interrupted();
  EXPECT_EQ(s.domain.stale.entries().size(), 3U);
  EXPECT_TRUE(s.duties.due(me));
}

TEST(EntryStubs, what_one_stub_can_t_take_is_left_for_the_next_one) {
  Shadowed s(10, 30);  // ten a table: too few to drop the table
  s.duties.request(me);
  const auto first = s.prepare();
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->leaves);
  EXPECT_TRUE(s.stubs.has_more());
  EXPECT_TRUE(s.duties.due(me)) << "the flush is not done yet";
  s.stubs.finished(s.domain.held);
  const std::size_t left = s.domain.stale.entries().size();
  EXPECT_EQ(left, 300 - EntryStub::max_steps);
  const auto second = s.prepare();
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->leaves);
  EXPECT_FALSE(s.stubs.has_more());
  EXPECT_FALSE(s.duties.due(me));
}

TEST(EntryStubs, many_entries_of_one_table_drop_the_table) {
  Shadowed s(200);
  s.duties.request(me);
  const auto stub = s.prepare();
  ASSERT_TRUE(stub);
  EXPECT_FALSE(stub->leaves) << "one step, where 200 would not fit";
}

TEST(EntryStubs, an_entry_that_permits_no_less_than_before_is_no_work) {
  Scene s(true);
  const Mfn data = s.domain.allocate(), l1 = s.domain.allocate();
  s.machine.poke(l1, 0, Pte(data, rw));
  ASSERT_TRUE(s.domain.mmu.pin(s.domain.held, Level::l1, l1));
  ASSERT_TRUE(s.domain.mmu.update(s.domain.held, entry_at(l1, 0), Pte(), Preserve::nothing));
  ASSERT_TRUE(s.domain.mmu.update(s.domain.held, entry_at(l1, 0), Pte(data, rw), Preserve::nothing));
  s.duties.request(me);
  EXPECT_FALSE(s.prepare());
  EXPECT_FALSE(s.duties.due(me));
  EXPECT_TRUE(s.domain.stale.empty());
}

}  // namespace
}  // namespace pinfold::vmm
