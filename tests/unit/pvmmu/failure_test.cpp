// A failure at each place that can fail: the host refuses a protection, the mirrors run out. Afterwards every
// count is what it was before, and the same request succeeds once the cause is gone.
#include <gtest/gtest.h>

#include <functional>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

/// A root with two L3s, of which one has two L2s with two L1s each, all mapping pages; some are shared.
struct Forest {
  explicit Forest(std::uint64_t mirrors = 64) : one(machine, DomId(1), {.mirrors = mirrors}) {
    for (Mfn& mfn : page) mfn = one.allocate();
    machine.poke(tree.l4, 300, Pte(other_l3, table));
    machine.poke(tree.l3, 9, Pte(other_l2, table));
    machine.poke(tree.l2, 511, Pte(other_l1, table));
    machine.poke(other_l2, 0, Pte(tree.l1, table));
    machine.poke(other_l2, 1, Pte(other_l1, table));
    for (std::size_t i = 0; i < page.size(); ++i) {
      machine.poke(tree.l1, i * 100, Pte(page[i], rw));
      machine.poke(other_l1, i, Pte(page[i], ro));
    }
    machine.poke(tree.l1, 511, Pte(tree.l4, ro));
  }
  FakeMachine machine{64};
  FakeDomain one;
  Tree tree = build_tree(machine, one);
  Mfn other_l3 = one.allocate(), other_l2 = one.allocate(), other_l1 = one.allocate();
  std::array<Mfn, 4> page;
};
constexpr std::uint64_t tables_in_forest = 7;

/// An operation that makes tables. `prepare` runs before the failure is armed.
struct Attempt {
  const char* name;
  std::function<void(Forest&)> prepare;
  std::function<Verdict<>(Forest&)> run;
  std::uint64_t tables = tables_in_forest;
};

Mfn root_of_attempt = no_mfn;

const std::vector<Attempt>& attempts() {
  static const std::vector<Attempt> all{
      {"pin", [](Forest&) {}, [](Forest& f) { return f.one.mmu.pin(f.one.held, Level::l4, f.tree.l4); }},
      {"load_root", [](Forest&) { root_of_attempt = no_mfn; },
       [](Forest& f) { return f.one.mmu.load_root(f.one.held, root_of_attempt, f.tree.l4); }},
      {"hold", [](Forest&) {},
       [](Forest& f) { return f.one.mmu.hold(f.one.held, f.tree.l4, FrameType::l4); }},
      {"new L4 entry",
       [](Forest& f) {
         f.machine.poke(f.tree.l1, 511, Pte());
         const Mfn root = f.one.allocate();
         f.machine.poke(f.page[0], 0, Pte(root.raw()));
         EXPECT_TRUE(f.one.mmu.pin(f.one.held, Level::l4, root));
       },
       [](Forest& f) {
         const Mfn root(f.machine.peek(f.page[0], 0).raw());
         return f.one.mmu.update(f.one.held, entry_at(root, 1), Pte(f.tree.l3, table), Preserve::nothing);
       },
       5},
      {"replaced L2 entry",
       [](Forest& f) {
         EXPECT_TRUE(f.one.mmu.pin(f.one.held, Level::l2, f.tree.l2));
         f.machine.poke(f.page[3], 0, Pte());
         EXPECT_TRUE(f.one.mmu.update(f.one.held, entry_at(f.tree.l1, 300), Pte(), Preserve::nothing));
       },
       [](Forest& f) {
         return f.one.mmu.update(f.one.held, entry_at(f.tree.l2, 0), Pte(f.page[3], table),
                                 Preserve::nothing);
       },
       1},
  };
  return all;
}

TEST(FailureInjection, a_protection_that_the_host_refuses_at_any_call_leaves_everything_as_it_was) {
  for (const Attempt& attempt : attempts())
    for (std::uint64_t call = 0; call < attempt.tables; ++call) {
      Forest f;
      attempt.prepare(f);
      const auto before = snapshot(f.machine.frames);
      const auto mirrors = f.one.mirrors.in_use();
      f.one.view.fail_at = f.one.view.protections + call;
      const auto verdict = attempt.run(f);
      ASSERT_FALSE(verdict) << attempt.name << ", call " << call;
      EXPECT_EQ(verdict.error().rule, Rule::view_cannot_protect) << attempt.name;
      EXPECT_EQ(snapshot(f.machine.frames), before) << attempt.name << ", call " << call;
      EXPECT_EQ(f.one.mirrors.in_use(), mirrors);
      EXPECT_EQ(f.one.findings(), std::vector<std::string>());
      f.one.view.fail_at = FakeView::never;
      EXPECT_TRUE(attempt.run(f)) << attempt.name << ", after the failure at call " << call;
    }
}

TEST(FailureInjection, an_attempt_protects_as_many_frames_as_the_test_above_assumes) {
  for (const Attempt& attempt : attempts()) {
    Forest f;
    attempt.prepare(f);
    const auto before = f.one.view.protections;
    ASSERT_TRUE(attempt.run(f)) << attempt.name;
    EXPECT_EQ(f.one.view.protections - before, attempt.tables) << attempt.name;
  }
}

TEST(FailureInjection, mirrors_that_run_out_at_any_table_leave_everything_as_it_was) {
  for (const Attempt& attempt : attempts())
    for (std::uint64_t missing = 1; missing <= attempt.tables; ++missing) {
      Forest f(64);
      attempt.prepare(f);
      while (f.one.mirrors.in_use() + attempt.tables - missing < 64) (void)f.one.mirrors.take();
      const auto before = snapshot(f.machine.frames);
      const auto mirrors = f.one.mirrors.in_use();
      const auto verdict = attempt.run(f);
      ASSERT_FALSE(verdict) << attempt.name << ", " << missing << " missing";
      EXPECT_EQ(verdict.error().rule, Rule::mirror_exhausted);
      EXPECT_EQ(snapshot(f.machine.frames), before) << attempt.name << ", " << missing << " missing";
      EXPECT_EQ(f.one.mirrors.in_use(), mirrors);
      EXPECT_EQ(f.one.findings(), std::vector<std::string>());
      for (const Mfn mfn : f.page) EXPECT_EQ(f.one.view.of(mfn), FakeView::Access::read_write);
    }
}

TEST(FailureInjection, a_descriptor_page_that_cannot_be_protected_is_not_held) {
  Forest f;
  f.one.view.fail_at = f.one.view.protections;
  EXPECT_FALSE(f.one.mmu.hold(f.one.held, f.page[0], FrameType::seg_desc));
  EXPECT_EQ(f.machine.frames[f.page[0]].refs, 1U);
  EXPECT_TRUE(f.one.mmu.hold(f.one.held, f.page[0], FrameType::seg_desc));
}

TEST(FailureInjection, a_refused_root_leaves_the_loaded_one) {
  Forest f;
  const Tree loaded = build_tree(f.machine, f.one);
  Mfn root = no_mfn;
  ASSERT_TRUE(f.one.mmu.load_root(f.one.held, root, loaded.l4));
  f.one.view.fail_at = f.one.view.protections + 3;
  EXPECT_FALSE(f.one.mmu.load_root(f.one.held, root, f.tree.l4));
  EXPECT_EQ(root, loaded.l4);
  EXPECT_EQ(f.machine.frames[loaded.l4].type_count, 1U);
  f.one.mmu.unload_root(f.one.held, root);
}

TEST(FailureInjection, an_extent_that_does_not_fit_takes_nothing) {
  Forest f;
  const auto free = f.machine.frames.free_frames();
  EXPECT_FALSE(f.one.mmu.allocate(f.one.held, 60, 1));
  EXPECT_FALSE(f.one.mmu.allocate(f.one.held, 1, 64));
  EXPECT_EQ(f.machine.frames.free_frames(), free);
}

TEST(Audit, finds_a_count_or_a_mirror_that_is_wrong) {
  Forest f;
  const Mfn unused = f.one.allocate();
  ASSERT_TRUE(f.one.mmu.pin(f.one.held, Level::l4, f.tree.l4));
  ASSERT_EQ(f.one.findings(), std::vector<std::string>());
  const auto spoil = [&](auto& record, auto change) {
    const auto saved = record;
    change(record);
    EXPECT_FALSE(f.one.findings().empty());
    record = saved;
  };
  DomainRecords& records = f.one.records();
  spoil(records.uses(f.page[0]), [](FrameUses& x) { ++x.refs; });
  spoil(records.uses(f.page[0]), [](FrameUses& x) { --x.writable; });
  spoil(records.holds(f.page[0]), [](std::uint32_t& x) { ++x; });
  spoil(records.holds(f.tree.l1), [](std::uint32_t& x) { ++x; });
  spoil(records.facts(f.page[0]), [](FrameFacts& x) { x.type = FrameType::l1; });
  spoil(records.facts(f.page[0]), [](FrameFacts& x) { x.mine = false; });
  spoil(records.facts(Mfn(f.machine.frames.size() - 1)), [](FrameFacts& x) { x.mine = true; });
  spoil(records.facts(f.tree.l4), [](FrameFacts& x) { x.pinned = false; });
  spoil(records.facts(unused), [](FrameFacts& x) { x.allocated = false; });
  const MirrorId mirror(f.machine.frames[f.tree.l1].mirror);
  const Pte saved = f.one.mirrors.load(mirror, 0);
  for (const Pte wrong :
       {Pte(), saved.without(bit::writable), Pte(f.page[1], saved.flags()), saved.with(bit::global)}) {
    f.one.mirrors.store(mirror, 0, wrong);
    EXPECT_FALSE(f.one.findings().empty());
  }
  f.one.mirrors.store(mirror, 0, saved);
  f.machine.poke(f.tree.l1, 1, Pte(f.page[0], rw));
  EXPECT_FALSE(f.one.findings().empty()) << "an entry that did not come through the validator";
  f.machine.poke(f.tree.l1, 1, Pte());
  EXPECT_EQ(f.one.findings(), std::vector<std::string>());
}

}  // namespace
}  // namespace pinfold::pvmmu::test
