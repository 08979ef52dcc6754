// A fresh validator lives a recorded life again; whatever is changed in the record is found.
#include "trace/replay.hpp"

#include <gtest/gtest.h>

#include "recorded.hpp"
#include "trace/predicate.hpp"

namespace pinfold::trace {
namespace {

/// Replays a log, each event first changed by `change`; the first difference, or nothing.
std::optional<std::string> replayed(std::span<const std::byte> bytes,
                                    const std::function<void(LogEvent&)>& change = {}) {
  auto log = LogReader::from(bytes);
  auto replay = Replay::of(log->header());
  while (log->next() == LogReader::Step::event) {
    LogEvent event = log->event();
    if (change) change(event);
    if (auto difference = (*replay)->step(event)) return difference;
  }
  EXPECT_TRUE(change || (*replay)->compared_end());
  return std::nullopt;
}

TEST(Replay, finds_a_recorded_life_as_it_was) { EXPECT_EQ(replayed(test::recorded_log()), std::nullopt); }

TEST(Replay, finds_every_verdict_that_is_not_as_recorded) {
  const auto bytes = test::recorded_log();
  auto log = LogReader::from(bytes);
  std::set<pvmmu::TraceKind> accepted, refused;
  while (log->next() == LogReader::Step::event) {
    const LogEvent& event = log->event();
    if (!is_operation(event.kind)) continue;
    // Of each kind of operation and verdict one.
    if (!(event.refusal ? refused : accepted).insert(event.kind).second) continue;
    const std::uint64_t number = event.number;
    const auto difference = replayed(bytes, [&](LogEvent& e) {
      if (e.number != number) return;
      if (e.refusal)
        e.refusal.reset();
      else
        e.refusal = pvmmu::Refusal{};
    });
    ASSERT_TRUE(difference.has_value()) << number << ' ' << name(event.kind);
    EXPECT_NE(difference->find("verdict"), std::string::npos) << *difference;
  }
  EXPECT_GE(accepted.size(), 17U);
  EXPECT_GE(refused.size(), 4U);
}

TEST(Replay, finds_counts_that_are_not_as_recorded) {
  const auto difference = replayed(test::recorded_log(), [](LogEvent& e) {
    if (e.number == 100 && e.after) ++e.after->refs;
    if (e.number == 101 && e.after) ++e.after->refs;
  });
  ASSERT_TRUE(difference.has_value());
  EXPECT_NE(difference->find("counts after"), std::string::npos);
}

TEST(Replay, finds_other_contents_of_a_table) {
  std::vector<std::uint64_t> changed;
  const auto difference = replayed(test::recorded_log(), [&](LogEvent& e) {
    if (e.kind != pvmmu::TraceKind::protected_frame || e.wanted != pvmmu::FrameType::l1) return;
    changed.assign(e.contents.begin(), e.contents.end());
    changed[200] = 0x1234'5000;  // not present: no verdict depends on it
    e.contents = changed;
  });
  ASSERT_TRUE(difference.has_value());
  EXPECT_NE(difference->find("entry before"), std::string::npos) << *difference;
}

TEST(Replay, compares_all_frames_at_the_end) {
  std::vector<std::uint32_t> changed;
  const auto difference = replayed(test::recorded_log(), [&](LogEvent& e) {
    if (e.kind != pvmmu::TraceKind::state) return;
    changed.assign(e.digests.begin(), e.digests.end());
    changed[0] ^= 1;
    e.digests = changed;
  });
  ASSERT_TRUE(difference.has_value());
  EXPECT_NE(difference->find("the state at the end differs"), std::string::npos);
}

TEST(Replay, holds_work_that_stops_in_the_middle_to_the_same_budget) {
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<test::MemoryOutput>(bytes), {});
  test::World w(sink);
  for (std::uint64_t level = 0; level < 3; ++level)
    w.machine.poke(w.frame(level), 0, pvmmu::Pte(w.frame(level + 1), pvmmu::test::table));
  int pieces = 0, ends = 0;
  for (bool done = false; !done; ++pieces) {
    w.domain.mmu.set_budget(w.domain.held, pvmmu::Budget(100));
    done = w.domain.mmu.pin(w.domain.held, pvmmu::Level::l4, w.frame(0)).has_value();
  }
  w.domain.mmu.set_budget(w.domain.held, pvmmu::Budget(100));
  ASSERT_TRUE(w.domain.mmu.unpin(w.domain.held, w.frame(0)));
  for (bool done = false; !done; ++ends) {
    w.domain.mmu.set_budget(w.domain.held, pvmmu::Budget(70));
    done = w.domain.mmu.finish_releases(w.domain.held);
  }
  (void)w.domain.mmu.destroy(w.domain.held);
  (void)sink.close();
  EXPECT_GT(pieces, 10);
  EXPECT_GT(ends, 10);
  EXPECT_EQ(replayed(bytes), std::nullopt);
  const auto other = replayed(bytes, [](LogEvent& e) {
    if (e.marks.budgeted) e.budget += 50;
  });
  EXPECT_TRUE(other.has_value());
}

TEST(Replay, knows_what_the_host_refused) {
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<test::MemoryOutput>(bytes), {});
  test::World w(sink);
  w.domain.view.fail_at = 0;
  EXPECT_FALSE(w.domain.mmu.pin(w.domain.held, pvmmu::Level::l1, w.frame(5)));
  w.domain.view.stuck = w.frame(6);
  EXPECT_TRUE(w.domain.mmu.deallocate(w.domain.held, w.frame(6)));
  EXPECT_TRUE(w.domain.mmu.owns(w.frame(6)));
  w.domain.view.stuck = no_mfn;
  (void)w.domain.mmu.destroy(w.domain.held);
  (void)sink.close();
  EXPECT_EQ(replayed(bytes), std::nullopt);
}

TEST(Replay, knows_what_the_processor_noted_in_a_mirror) {
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<test::MemoryOutput>(bytes), {});
  test::World w(sink);
  auto& mmu = w.domain.mmu;
  const auto at = entry_address(w.frame(3), 9);
  const pvmmu::Pte unmarked(w.frame(20), pvmmu::bit::present | pvmmu::bit::user);
  ASSERT_TRUE(mmu.pin(w.domain.held, pvmmu::Level::l1, w.frame(3)));
  ASSERT_TRUE(mmu.update(w.domain.held, at, unmarked, pvmmu::Preserve::nothing));
  const pvmmu::MirrorId mirror(mmu.frame(w.frame(3)).mirror);
  w.domain.mirrors.store(mirror, 9, w.domain.mirrors.load(mirror, 9).with(pvmmu::bit::accessed));
  ASSERT_TRUE(mmu.update(w.domain.held, at, unmarked, pvmmu::Preserve::accessed_and_dirty));
  ASSERT_TRUE(w.machine.peek(w.frame(3), 9).any(pvmmu::bit::accessed));
  (void)mmu.destroy(w.domain.held);
  (void)sink.close();
  EXPECT_EQ(replayed(bytes), std::nullopt);
  EXPECT_TRUE(replayed(bytes, [](LogEvent& e) { e.marks.accessed_by_processor = false; }).has_value());
}

TEST(Replay, refuses_what_no_caller_of_a_validator_does) {
  auto log = LogReader::from(test::recorded_log());
  const auto of = [&](const std::function<void(LogEvent&)>& fill) {
    auto replay = Replay::of(log->header());
    LogEvent event;
    fill(event);
    return (*replay)->step(event);
  };
  using pvmmu::TraceKind;
  const auto contradicts = [&](const std::function<void(LogEvent&)>& fill) {
    const auto difference = of(fill);
    return difference && difference->find("contradicts itself") != std::string::npos;
  };
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::update_va, e.root = Mfn(1); }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::load_root, e.root = Mfn(1ULL << 60); }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::unload_root, e.root = Mfn(3); }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::release, e.frame = Mfn(3); }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::touch, e.table = Mfn(1ULL << 50); }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::hide_machphys, e.frame = Mfn(3); }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::allocate, e.count = 1, e.argument = 0; }));
  EXPECT_TRUE(contradicts([](LogEvent& e) { e.kind = TraceKind::pin, e.frame = Mfn(3); }));
  EXPECT_TRUE(
      of([](LogEvent& e) { e.kind = TraceKind::update, e.table = no_mfn, e.now = pvmmu::Pte(~0ULL); }));
}

TEST(Predicate, holds_when_all_its_conditions_do) {
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<test::MemoryOutput>(bytes), {});
  test::World w(sink);
  const auto holds = [&](const std::string& conditions) {
    const auto predicate = Predicate::parse(std::to_string(w.frame(3).raw()) + ":" + conditions);
    EXPECT_TRUE(predicate.has_value()) << conditions;
    return predicate && predicate->holds(w.domain.mmu);
  };
  EXPECT_TRUE(holds("owned,unpinned,type=none,refs=1"));
  EXPECT_FALSE(holds("owned,pinned"));
  ASSERT_TRUE(w.domain.mmu.pin(w.domain.held, pvmmu::Level::l1, w.frame(3)));
  EXPECT_TRUE(holds("pinned,type=l1,refs>1,types=1,types<2"));
  EXPECT_FALSE(holds("type=l2"));
  EXPECT_FALSE(holds("free"));
  for (const char* wrong : {"", "5", "5:", "x:owned", "5:type=l9", "5:refs", "5:refs=x", "5:owned,,"})
    EXPECT_FALSE(Predicate::parse(wrong).has_value()) << wrong;
}

}  // namespace
}  // namespace pinfold::trace
