// What a log becomes: histories of frames, links of tables, times; within bounds, whatever the log says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recorded.hpp"
#include "report/histogram.hpp"
#include "report/history.hpp"
#include "report/model.hpp"
#include "report/packed.hpp"
#include "report/page.hpp"
#include "report/timeline.hpp"

namespace pinfold::report {
namespace {

using pvmmu::FrameType;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr Look none = Look::of(FrameType::none), writable = Look::of(FrameType::writable),
               l1 = Look::of(FrameType::l1);

Model model_of(std::span<const std::byte> log, const Limits& limits = {}) {
  auto reader = trace::LogReader::from(log);
  EXPECT_TRUE(reader);
  return make_model(*reader, limits);
}

/// The look of a frame of the model when `event` is over.
Look look_at(const Model& model, std::uint64_t frame, std::uint64_t event) {
  Look look = look_absent;
  for (const auto& run : model.runs)
    if (frame >= run.first && frame < run.first + run.count)
      for (const Change& change : run.changes)
        if (change.event <= event) look = change.look;
  return look;
}

TEST(Histories, neighbours_with_the_same_history_are_one_run) {
  Histories histories(100);
  histories.note(1, Mfn(10), 20, none);
  for (const std::uint64_t frame : {15, 12, 13, 14}) histories.note(5, Mfn(frame), 1, writable);
  const auto result = histories.result(100);
  ASSERT_EQ(result.runs.size(), 3U);
  EXPECT_EQ(result.runs[0].first, 10U);
  EXPECT_EQ(result.runs[0].count, 2U);
  EXPECT_THAT(result.runs[0].changes, ElementsAre(Change{1, none}));
  EXPECT_EQ(result.runs[1].first, 12U);
  EXPECT_EQ(result.runs[1].count, 4U);
  EXPECT_THAT(result.runs[1].changes, ElementsAre(Change{1, none}, Change{5, writable}));
  EXPECT_EQ(result.runs[2].count, 14U);
}

TEST(Histories, a_range_overrides_what_its_frames_were) {
  Histories histories(100);
  histories.note(1, Mfn(0), 8, none);
  histories.note(2, Mfn(3), 1, l1);
  histories.note(9, Mfn(0), 8, look_absent);
  const auto result = histories.result(100);
  ASSERT_EQ(result.runs.size(), 3U);
  EXPECT_THAT(result.runs[1].changes, ElementsAre(Change{1, none}, Change{2, l1}, Change{9, look_absent}));
}

TEST(Histories, what_changes_nothing_is_left_out) {
  Histories histories(100);
  for (std::uint32_t event = 0; event < 10; ++event) histories.note(event, Mfn(7), 1, none);
  EXPECT_THAT(histories.result(100).runs[0].changes, ElementsAre(Change{0, none}));
}

TEST(Histories, too_many_changes_make_it_coarser_but_the_last_one_stays) {
  Histories histories(1'000'000);
  constexpr std::uint32_t events = 50'000;
  for (std::uint32_t event = 0; event < events; ++event)
    histories.note(event, Mfn(event % 5), 1, event / 5 % 2 != 0 ? l1 : none);
  const auto result = histories.result(100);
  std::size_t changes = 0;
  for (const auto& run : result.runs) {
    changes += run.changes.size();
    EXPECT_EQ(run.changes.back().look, l1);
  }
  EXPECT_LE(changes, 100U);
  EXPECT_GT(result.resolution, 1U);
}

TEST(Histories, what_is_too_much_to_keep_is_counted) {
  Histories histories(10);
  for (std::uint32_t event = 0; event < 15; ++event) histories.note(event, Mfn(event), 1, none);
  for (std::uint32_t event = 0; event < 2000; ++event) histories.note(20 + event, Mfn(0), 1000, none);
  EXPECT_EQ(histories.left_out(), 5U + 2000 - 1024);
}

TEST(Timeline, times_between_points_are_near_and_waits_are_told) {
  Timeline timeline;
  std::vector<std::uint64_t> truth;
  std::uint64_t time = 0;
  for (std::uint32_t event = 0; event < 20'000; ++event) {
    time += event == 5'000 || event == 5'001 || event == 12'000 ? 3'000'000 : 10 + event % 7;
    truth.push_back(time);
    timeline.note(event, time);
  }
  const auto points = timeline.points(4000);
  EXPECT_LT(points.size(), 400U);
  EXPECT_EQ(points.front().event, 0U);
  EXPECT_EQ(points.back().event, 19'999U);
  for (std::size_t i = 1; i < points.size(); ++i)
    for (std::uint32_t event = points[i - 1].event; event < points[i].event; ++event) {
      const double part =
          static_cast<double>(event - points[i - 1].event) / (points[i].event - points[i - 1].event);
      const double at = static_cast<double>(points[i - 1].time) +
                        part * static_cast<double>(points[i].time - points[i - 1].time);
      ASSERT_NEAR(at, static_cast<double>(truth[event]), static_cast<double>(time) / 400) << event;
    }
}

TEST(Histogram, doubles_its_buckets_and_loses_nothing) {
  Histogram histogram(16);
  for (std::uint32_t event = 0; event < 1000; event += 2) histogram.note(event);
  EXPECT_LE(histogram.counts().size(), 16U);
  std::uint64_t sum = 0;
  for (const std::uint32_t count : histogram.counts()) sum += count;
  EXPECT_EQ(sum, 500U);
  EXPECT_EQ(histogram.counts()[0], histogram.bucket() / 2);
}

TEST(Packed, base64_is_that_of_the_standard) {
  const auto of = [](std::string_view text) {
    std::vector<std::byte> bytes;
    for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
    return base64(bytes);
  };
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("f"), "Zg==");
  EXPECT_EQ(of("fo"), "Zm8=");
  EXPECT_EQ(of("foobar"), "Zm9vYmFy");
}

TEST(Model, a_frame_is_what_the_validator_says_at_the_end_of_each_step) {
  std::vector<std::byte> log;
  trace::LogSink sink(std::make_unique<trace::test::MemoryOutput>(log), {});
  trace::test::World world(sink);
  auto& mmu = world.domain.mmu;
  const auto held = [&]() -> pvmmu::Held { return world.domain.held; };
  const auto& frames = world.machine.frames;
  world.machine.poke(world.frame(0), 0, pvmmu::Pte(world.frame(1), pvmmu::test::table));
  world.machine.poke(world.frame(1), 0, pvmmu::Pte(world.frame(2), pvmmu::test::table));
  world.machine.poke(world.frame(2), 0, pvmmu::Pte(world.frame(3), pvmmu::test::table));
  world.machine.poke(world.frame(3), 5, pvmmu::Pte(world.frame(20), pvmmu::test::rw));
  ASSERT_TRUE(mmu.pin(held(), pvmmu::Level::l4, world.frame(0)));
  ASSERT_TRUE(mmu.update(held(), entry_address(world.frame(3), 6),
                         pvmmu::Pte(world.frame(21), pvmmu::test::rw), pvmmu::Preserve::nothing));
  const auto recorded = [&](std::uint64_t i) {
    const pvmmu::Frame f = frames[world.frame(i)];
    const bool counted = f.type_count != 0 || f.type == FrameType::writable;
    return Look::of(counted ? f.type : FrameType::none).with_pin(f.pinned);
  };
  std::vector<Look> truth;
  for (std::uint64_t i = 0; i < 30; ++i) truth.push_back(recorded(i));
  ASSERT_TRUE(mmu.unpin(held(), world.frame(0)));
  std::vector<Look> after;
  for (std::uint64_t i = 0; i < 30; ++i) after.push_back(recorded(i));
  (void)sink.close();

  const Model model = model_of(log);
  std::uint64_t unpinned = model.events;
  auto reader = trace::LogReader::from(log);
  // What happens within the unpin precedes its event.
  while (reader->next() == trace::LogReader::Step::event)
    if (reader->event().kind == pvmmu::TraceKind::update) unpinned = reader->event().number;
  for (std::uint64_t i = 0; i < 30; ++i) {
    EXPECT_EQ(look_at(model, world.frame(i).raw(), unpinned), truth[i]) << i;
    EXPECT_EQ(look_at(model, world.frame(i).raw(), model.events), after[i]) << i;
  }
  EXPECT_EQ(truth[20], writable);
  EXPECT_EQ(truth[0], Look::of(FrameType::l4).with_pin(true));
  ASSERT_EQ(model.links.size(), 3U);
  for (const Link& link : model.links) EXPECT_LT(link.to, model.events);
}

TEST(Model, refusals_are_counted_by_rule_and_listed_up_to_a_bound) {
  const auto log = trace::test::recorded_log();
  const Model model = model_of(log, {.of_a_rule = 7});
  std::map<pvmmu::Rule, std::uint64_t> counted;
  auto reader = trace::LogReader::from(log);
  while (reader->next() == trace::LogReader::Step::event)
    if (const auto& refusal = reader->event().refusal; refusal && refusal->rule != pvmmu::Rule::unfinished)
      ++counted[refusal->rule];
  EXPECT_EQ(model.by_rule, counted);
  std::uint64_t total = 0, in_buckets = 0, listed = 0;
  for (const auto& [rule, count] : counted) total += count, listed += std::min<std::uint64_t>(count, 7);
  for (const std::uint32_t count : model.refusals_in) in_buckets += count;
  EXPECT_EQ(in_buckets, total);
  EXPECT_EQ(model.refusals.size(), listed);
  EXPECT_GT(total, listed);
  EXPECT_TRUE(model.closed);
  EXPECT_THAT(model.trouble, IsEmpty());
}

TEST(Model, another_domains_frame_is_known_from_a_refusal) {
  trace::LogHeader header;
  header.machine_frames = 100;
  struct Listener final : FrameListener {
    void looks(Mfn first, std::uint64_t, Look look) override { told.emplace_back(first, look); }
    void link(Mfn, std::uint16_t, Mfn, bool) override {}
    std::vector<std::pair<Mfn, Look>> told;
  } listener;
  FrameFollower follower(header, listener);
  trace::LogEvent event;
  event.kind = pvmmu::TraceKind::update;
  event.refusal.emplace();
  event.refusal->frame = Mfn(7);
  event.refusal->state.owner_plus_1 = pvmmu::FrameTable::tag_of(DomId(5));
  follower.event(event);
  EXPECT_THAT(listener.told, ElementsAre(std::pair(Mfn(7), look_others)));
}

TEST(Model, frames_past_the_machine_are_nobodys_concern) {
  trace::LogHeader header;
  header.machine_frames = 16;
  struct Listener final : FrameListener {
    void looks(Mfn first, std::uint64_t count, Look) override { EXPECT_LE(first.raw() + count, 16U); }
    void link(Mfn parent, std::uint16_t, Mfn child, bool) override {
      EXPECT_LT(parent.raw(), 16U);
      EXPECT_LT(child.raw(), 16U);
    }
  } listener;
  FrameFollower follower(header, listener);
  std::vector<std::uint64_t> contents(512, pvmmu::Pte(Mfn(1ULL << 30), pvmmu::test::rw).raw());
  contents[3] = pvmmu::Pte(Mfn(3), pvmmu::test::rw).raw();
  for (std::size_t kind = 0; kind < pvmmu::trace_kinds; ++kind)
    for (const std::uint64_t frame : {3ULL, 15ULL, 16ULL, 1ULL << 40, ~0ULL}) {
      trace::LogEvent event;
      event.kind = static_cast<pvmmu::TraceKind>(kind);
      event.frame = event.table = Mfn(frame);
      event.level = 2;
      event.slot = 600;
      event.count = ~0ULL;
      event.wanted = FrameType::l2;
      event.after.emplace();
      event.contents = contents;
      follower.event(event);
    }
}

TEST(Page, of_an_empty_log_says_that_it_is_empty) {
  trace::LogHeader header;
  header.machine_frames = 64;
  header.mirror_pages = 2;
  const auto log = trace::encode(header);
  const Model model = model_of(log);
  EXPECT_EQ(model.events, 0U);
  EXPECT_THAT(make_page(model, {}), HasSubstr("The log holds no events."));
}

TEST(Page, of_a_log_cut_anywhere_shows_what_there_is_and_says_where_it_ends) {
  const auto log = trace::test::recorded_log();
  for (std::size_t size = trace::log_header_bytes + 1; size < log.size(); size += log.size() / 40) {
    const Model model = model_of(std::span(log).first(size));
    EXPECT_FALSE(model.closed);
    const std::string page = make_page(model, {});
    EXPECT_THAT(page, HasSubstr("at byte"));
    EXPECT_THAT(page, HasSubstr("could not be read to its end"));
  }
}

TEST(Page, of_a_damaged_log_never_crashes) {
  auto log = trace::test::recorded_log();
  for (std::size_t at = trace::log_header_bytes; at < log.size(); at += 997) {
    log[at] ^= std::byte{0x10};
    (void)make_page(model_of(log), {});
    log[at] ^= std::byte{0x10};
  }
}

TEST(Page, what_the_log_is_called_can_not_end_the_script) {
  const auto log = trace::test::recorded_log();
  const std::string page =
      make_page(model_of(log), {.file = "</script><script>alert(1)", .words = {}, .namer = {}});
  EXPECT_THAT(page, Not(HasSubstr("</script><script>alert")));
  EXPECT_THAT(page, HasSubstr("\\u003c/script>"));
}

TEST(Page, needs_no_network) {
  const auto log = trace::test::recorded_log();
  const std::string page = make_page(model_of(log), {});
  for (const char* outside : {"http://", "https://", "<link", "@import", "src=", "url("})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

}  // namespace
}  // namespace pinfold::report
