// A log may ask for as much work as its length allows, and no more.
#include "trace/allowance.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bombs.hpp"
#include "recorded.hpp"
#include "trace/replay.hpp"

namespace pinfold::trace {
namespace {

/// What `work` takes of memory, in a process of its own, in MiB. That it begins with this one's is in it.
template <class Work>
long mebibytes_of(Work&& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  rusage usage{};
  EXPECT_EQ(::wait4(child, &status, 0, &usage), child);
  EXPECT_EQ(status, 0);
  return usage.ru_maxrss >> 10;
}

/// What is left of a machine's memory once a log may not ask for more: some 200 MiB, and what this program
/// and its sanitizer have. Each of these logs asks for gigabytes.
constexpr long most_mebibytes = 640;

TEST(Allowance, no_log_of_a_few_bytes_makes_a_replay_large) {
  for (const test::Bomb& bomb : test::bombs()) {
    EXPECT_LT(bomb.log.size(), 100'000U) << bomb.name;
    const long used = mebibytes_of([&] {
      auto log = LogReader::from(bomb.log);
      auto replay = Replay::of(log->header());
      while (log->next() == LogReader::Step::event)
        if ((*replay)->step(log->event())) return;
    });
    EXPECT_LT(used, most_mebibytes) << bomb.name;
  }
}

TEST(Allowance, an_event_that_asks_for_too_much_is_refused_with_its_place) {
  for (const test::Bomb& bomb : test::bombs()) {
    auto log = LogReader::from(bomb.log);
    LogReader::Step step{};
    while ((step = log->next()) == LogReader::Step::event) {
    }
    EXPECT_EQ(step, LogReader::Step::damaged) << bomb.name;
    EXPECT_GE(log->error().offset, log_header_bytes + block_header_bytes) << bomb.name;
    EXPECT_LT(log->error().offset, bomb.log.size()) << bomb.name;
    EXPECT_NE(log->error().message.find("work on"), std::string::npos) << log->error().message;
  }
}

TEST(Allowance, what_asks_for_no_work_may_read_everything) {
  for (const test::Bomb& bomb : test::bombs()) {
    auto log = LogReader::from(bomb.log);
    log->allow_all();
    LogReader::Step step{};
    while ((step = log->next()) == LogReader::Step::event) {
    }
    EXPECT_EQ(step, LogReader::Step::end) << bomb.name;
  }
}

TEST(Allowance, grows_with_the_logs_length) {
  LogHeader header;
  header.machine_frames = most_frames;
  LogEvent event;
  event.kind = pvmmu::TraceKind::allocate;
  event.argument = 1;
  const auto may = [&](std::uint64_t frames, std::uint64_t length) {
    event.count = frames;
    return Allowance().spend(header, event, length);
  };
  EXPECT_TRUE(may(Allowance::frames_of_any_log, 0));
  EXPECT_FALSE(may(Allowance::frames_of_any_log + Allowance::frames_per_byte, 0));
  EXPECT_TRUE(may(Allowance::frames_of_any_log + Allowance::frames_per_byte, 1));
  EXPECT_TRUE(may(most_frames, 1 << 18));
  EXPECT_FALSE(may(most_frames, 1 << 17));
}

TEST(Allowance, counts_what_events_ask_for_together) {
  LogHeader header;
  header.machine_frames = most_frames;
  LogEvent event;
  event.kind = pvmmu::TraceKind::set_machphys;
  event.count = Allowance::frames_of_any_log / 4;
  Allowance allowance;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(allowance.spend(header, event, 0));
  EXPECT_FALSE(allowance.spend(header, event, 0));
}

TEST(Allowance, a_log_grows_little_when_it_is_unpacked) {
  // Zeros pack to a few bytes a megabyte.
  const auto unpacked_bytes = [](std::size_t size) {
    const auto small = test::packed(std::vector<std::byte>(size));
    const auto source = unpacked(std::make_unique<MemorySource>(small));
    std::vector<std::byte> buffer(1 << 16);
    std::uint64_t got = 0;
    while (const std::size_t more = source->read(buffer)) got += more;
    EXPECT_EQ(source->length(), small.size());
    return std::pair(got, source->failure());
  };
  EXPECT_EQ(unpacked_bytes(unpacked_of_any_file), std::pair(unpacked_of_any_file, std::string()));
  const auto [got, failure] = unpacked_bytes(64 << 20);
  EXPECT_LT(got, std::uint64_t{4} << 20);
  EXPECT_NE(failure.find("which is no log"), std::string::npos) << failure;
}

TEST(Allowance, a_log_that_unpacks_itself_into_a_long_one_gets_no_more) {
  // What the log has packed is what counts: 20,000 harmless events in 300 bytes buy no large machine.
  std::vector<pvmmu::TraceEvent> events(20'000, test::of_kind(pvmmu::TraceKind::forget_mirrors));
  events.push_back(
      test::allocation(Mfn(1), Allowance::frames_of_any_log + 40'000 * Allowance::frames_per_byte));
  const auto small = test::packed(test::log_of(events));
  auto log = LogReader::from(unpacked(std::make_unique<MemorySource>(small)));
  ASSERT_TRUE(log.has_value());
  LogReader::Step step{};
  while ((step = log->next()) == LogReader::Step::event) {
  }
  EXPECT_EQ(step, LogReader::Step::damaged);
}

}  // namespace
}  // namespace pinfold::trace
