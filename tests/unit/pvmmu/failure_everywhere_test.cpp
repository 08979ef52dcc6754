// Each operation is run with each kind of failure: the host refuses a protection, the mirrors run out, the
// machine's pool runs out, a frame's count is full. The failure is injected at the first occasion, then at
// the second, and so on until the operation succeeds. After each failure every record, view and pool is as
// before, and the audit finds nothing; in the end the same request succeeds.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr std::uint64_t machine_size = 64;
constexpr std::uint64_t most_mirrors = 64;

/// A pinned and loaded tree, another that is not validated but shares the first one's L1, and data.
struct World {
  World() {
    machine.poke(fresh.l2, 1, Pte(live.l1, table));
    machine.poke(fresh.l2, 2, Pte(second_l1, table));
    machine.poke(fresh.l4, 511, Pte(fresh.l3, table));
    for (const Mfn l1 : {fresh.l1, second_l1}) {
      machine.poke(l1, 0, Pte(data, rw));
      machine.poke(l1, 1, Pte(more_data, ro));
      machine.poke(l1, 511, Pte(data, rw));
    }
    machine.poke(live.l1, 0, Pte(data, rw));
    EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, live.l4));
    EXPECT_TRUE(one.mmu.load_root(one.held, root, live.l4));
    one.outside.add(root);
  }
  ~World() { one.mmu.unload_root(one.held, root); }
  Verdict<> update(Mfn where, std::size_t slot, Pte want) {
    return one.mmu.update(one.held, entry_at(where, slot), want, Preserve::accessed_and_dirty);
  }

  FakeMachine machine{machine_size};
  FakeDomain one{machine, DomId(1), {.mirrors = most_mirrors}};
  Tree live = build_tree(machine, one), fresh = build_tree(machine, one);
  Mfn second_l1 = one.allocate(), data = one.allocate(), more_data = one.allocate();
  Mfn root = no_mfn;
  std::vector<MirrorId> hoard;
  FakeDomain other{machine, DomId(2)};
};

struct Attempt {
  const char* name;
  std::function<Verdict<>(World&)> run;
};

template <class T>
Verdict<> outcome(const Verdict<T>& v) {
  if (!v) return tl::unexpected(v.error());
  return {};
}

/// In the order of XENMEM_exchange: no frame is given back before the new frame is there.
Verdict<> exchange(World& w) {
  const Mfn old = w.one.allocate();
  auto verdict = w.one.mmu.check_exchangeable(w.one.held, old);
  if (verdict) verdict = outcome(w.one.mmu.allocate_beyond_limit(w.one.held, 1, 1));
  EXPECT_TRUE(w.one.mmu.deallocate(w.one.held, old));
  return verdict;
}

const std::vector<Attempt>& attempts() {
  static const std::vector<Attempt> all{
      {"pin l4", [](World& w) { return w.one.mmu.pin(w.one.held, Level::l4, w.fresh.l4); }},
      {"pin l3", [](World& w) { return w.one.mmu.pin(w.one.held, Level::l3, w.fresh.l3); }},
      {"pin l2", [](World& w) { return w.one.mmu.pin(w.one.held, Level::l2, w.fresh.l2); }},
      {"pin l1", [](World& w) { return w.one.mmu.pin(w.one.held, Level::l1, w.fresh.l1); }},
      {"pin of a validated table", [](World& w) { return w.one.mmu.pin(w.one.held, Level::l1, w.live.l1); }},
      {"load_root", [](World& w) { return w.one.mmu.load_root(w.one.held, w.root, w.fresh.l4); }},
      {"hold l4", [](World& w) { return w.one.mmu.hold(w.one.held, w.fresh.l4, FrameType::l4); }},
      {"hold seg_desc",
       [](World& w) { return w.one.mmu.hold(w.one.held, w.more_data, FrameType::seg_desc); }},
      {"hold writable",
       [](World& w) { return w.one.mmu.hold(w.one.held, w.more_data, FrameType::writable); }},
      {"new l4 entry", [](World& w) { return w.update(w.live.l4, 9, Pte(w.fresh.l3, table)); }},
      {"replaced l4 entry", [](World& w) { return w.update(w.live.l4, 0, Pte(w.fresh.l3, table)); }},
      {"new l3 entry", [](World& w) { return w.update(w.live.l3, 9, Pte(w.fresh.l2, table)); }},
      {"replaced l2 entry", [](World& w) { return w.update(w.live.l2, 0, Pte(w.second_l1, table)); }},
      {"new l1 entry", [](World& w) { return w.update(w.live.l1, 9, Pte(w.more_data, rw)); }},
      {"replaced l1 entry", [](World& w) { return w.update(w.live.l1, 0, Pte(w.more_data, rw)); }},
      {"read-only l1 entry", [](World& w) { return w.update(w.live.l1, 8, Pte(w.live.l4, ro)); }},
      {"update_va",
       [](World& w) { return w.one.mmu.update_va(w.one.held, w.root, va_of(0, 3), Pte(w.more_data, rw)); }},
      {"store to an l1",
       [](World& w) {
         return w.one.mmu.update_l1_by_store(w.one.held, Leaf{no_mfn, 0, Pte(w.live.l1, ro)}, 4,
                                             Pte(w.more_data, rw));
       }},
      {"allocate", [](World& w) { return outcome(w.one.mmu.allocate(w.one.held)); }},
      {"allocate an extent", [](World& w) { return outcome(w.one.mmu.allocate(w.one.held, 4, 4)); }},
      {"allocate special", [](World& w) { return outcome(w.one.mmu.allocate_special(w.one.held)); }},
      {"exchange", exchange},
  };
  return all;
}

/// All that a failed operation must not have changed.
auto everything(World& w) {
  std::vector<FakeView::Access> views;
  for (std::uint64_t i = 0; i < machine_size; ++i) views.push_back(w.one.view.of(Mfn(i)));
  return std::tuple(snapshot(w.machine.frames), views, w.one.mirrors.in_use(), w.machine.frames.free_frames(),
                    w.one.mmu.allocated_frames(), w.root, w.one.mmu.take_flush_duty());
}

/// Runs `attempt` with the fault armed at its n-th occasion, n = 0, 1, ... until it succeeds. Returns the
/// number of failures.
template <class Arm, class Disarm>
std::uint64_t fail_until_success(const Attempt& attempt, Rule rule, Arm&& arm, Disarm&& disarm) {
  for (std::uint64_t n = 0; n < 200; ++n) {
    World w;
    arm(w, n);
    const auto before = everything(w);
    const auto verdict = attempt.run(w);
    if (verdict) return n;
    EXPECT_EQ(verdict.error().rule, rule) << attempt.name << ", " << n;
    (void)verdict.error().describe();
    auto after = everything(w);
    std::get<6>(after) = std::get<6>(before);  // a flush too many does no harm
    EXPECT_EQ(after, before) << attempt.name << ", " << n;
    EXPECT_EQ(w.one.findings(), std::vector<std::string>()) << attempt.name << ", " << n;
    disarm(w);
    EXPECT_TRUE(attempt.run(w)) << attempt.name << ", after the failure at " << n;
  }
  ADD_FAILURE() << attempt.name << " fails for ever";
  return 0;
}

TEST(FailureEverywhere, a_protection_that_is_refused) {
  std::uint64_t failures = 0;
  for (const Attempt& attempt : attempts())
    failures += fail_until_success(
        attempt, Rule::view_cannot_protect,
        [](World& w, std::uint64_t n) { w.one.view.fail_at = w.one.view.protections + n; },
        [](World& w) { w.one.view.fail_at = FakeView::never; });
  EXPECT_GT(failures, 30U);
}

TEST(FailureEverywhere, mirrors_that_run_out) {
  std::uint64_t failures = 0;
  for (const Attempt& attempt : attempts())
    failures += fail_until_success(
        attempt, Rule::mirror_exhausted,
        [](World& w, std::uint64_t n) {
          while (w.one.mirrors.in_use() + n < most_mirrors) w.hoard.push_back(w.one.mirrors.take().value());
        },
        [](World& w) {
          for (const MirrorId id : w.hoard) w.one.mirrors.give_back(id);
        });
  EXPECT_GT(failures, 30U);
}

TEST(FailureEverywhere, a_machine_without_free_frames) {
  std::uint64_t failures = 0;
  for (const Attempt& attempt : attempts()) {
    std::vector<Mfn> taken;
    failures += fail_until_success(
        attempt, Rule::machine_exhausted,
        [&](World& w, std::uint64_t n) {
          taken.clear();
          // An exchange begins with a frame to give.
          const std::uint64_t own = std::string(attempt.name) == "exchange" ? 1 : 0;
          while (w.machine.frames.free_frames() > n + own) taken.push_back(w.other.allocate());
        },
        [&](World& w) {
          for (const Mfn mfn : taken) EXPECT_TRUE(w.other.mmu.deallocate(w.other.held, mfn));
        });
  }
  EXPECT_GE(failures, 4U);
}

/// A full count belongs to a frame, not to the n-th call: each frame in turn has one.
TEST(FailureEverywhere, a_count_that_is_full) {
  std::uint64_t failures = 0;
  for (const Attempt& attempt : attempts())
    for (std::uint64_t i = 1; i < machine_size; ++i) {
      World w;
      if (!w.one.mmu.owns(Mfn(i))) continue;
      std::uint32_t& entries = w.one.records().uses(Mfn(i)).refs;
      std::uint32_t& holds = w.one.records().holds(Mfn(i));
      const std::uint32_t more_entries = max_references - entries, more_holds = max_references - holds;
      const auto before = everything(w);
      entries += more_entries;
      holds += more_holds;
      const auto verdict = attempt.run(w);
      entries -= more_entries;
      holds -= more_holds;
      if (verdict) continue;
      ++failures;
      EXPECT_EQ(verdict.error().rule, Rule::count_overflow) << attempt.name;
      auto after = everything(w);
      std::get<6>(after) = std::get<6>(before);
      EXPECT_EQ(after, before) << attempt.name << ", frame " << i;
      EXPECT_EQ(w.one.findings(), std::vector<std::string>()) << attempt.name << ", frame " << i;
      EXPECT_TRUE(attempt.run(w)) << attempt.name << ", frame " << i;
    }
  EXPECT_GT(failures, 40U);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
