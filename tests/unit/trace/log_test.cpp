// A log gives back the recorded events; an incomplete log gives those that it has, and says where it ends.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "recorded.hpp"

namespace pinfold::trace {
namespace {

/// Keeps copies of all events.
class Keeper final : public pvmmu::TraceSink {
 public:
  struct Kept {
    pvmmu::TraceEvent event;
    std::vector<std::uint64_t> contents;
    std::vector<std::uint32_t> digests;
  };
  void started(const pvmmu::ValidatorParts&) override {}
  void operation_begins() override {}
  void event(const pvmmu::TraceEvent& event) override {
    kept.push_back({event,
                    {event.contents.begin(), event.contents.end()},
                    {event.digests.begin(), event.digests.end()}});
  }
  void vcpu_entered(VcpuId, GuestVaddr, std::uint64_t) override {}
  std::vector<Kept> kept;
};

auto fields_of(const pvmmu::Frame& f) {
  return std::tuple(f.refs, f.type_count, f.owner_plus_1, f.type, bool(f.pinned), bool(f.validated),
                    bool(f.partial), bool(f.allocated), bool(f.special));
}

void expect_same(const pvmmu::TraceEvent& a, const pvmmu::TraceEvent& b) {
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_TRUE(a.marks == b.marks);
  EXPECT_EQ(a.level, b.level);
  EXPECT_EQ(a.wanted, b.wanted);
  EXPECT_EQ(a.slot, b.slot);
  EXPECT_EQ(a.table, b.table);
  EXPECT_EQ(a.root, b.root);
  EXPECT_EQ(a.frame, b.frame);
  EXPECT_EQ(a.old, b.old);
  EXPECT_EQ(a.now, b.now);
  EXPECT_EQ(a.argument, b.argument);
  EXPECT_EQ(a.grant, b.grant);
  EXPECT_EQ(a.count, b.count);
  EXPECT_TRUE(!a.marks.budgeted || a.budget == b.budget);
  EXPECT_EQ(a.before, b.before);
  EXPECT_EQ(a.after, b.after);
  ASSERT_EQ(a.refusal.has_value(), b.refusal.has_value());
  if (!a.refusal) return;
  EXPECT_EQ(a.refusal->rule, b.refusal->rule);
  EXPECT_EQ(a.refusal->table, b.refusal->table);
  EXPECT_EQ(a.refusal->slot, b.refusal->slot);
  EXPECT_EQ(a.refusal->entry, b.refusal->entry);
  EXPECT_EQ(a.refusal->frame, b.refusal->frame);
  EXPECT_EQ(fields_of(a.refusal->state), fields_of(b.refusal->state));
}

/// Random numbers in all fields, where they may be.
pvmmu::TraceEvent random_event(std::mt19937_64& random, std::vector<std::uint64_t>& contents) {
  using pvmmu::Pte, pvmmu::TraceKind, pvmmu::FrameType;
  const auto one_of = [&](std::uint64_t n) { return random() % n; };
  const auto frame = [&] { return Mfn(one_of(3) == 0 ? random() : one_of(1 << 20)); };
  const auto state = [&]() -> std::optional<pvmmu::FrameState> {
    if (one_of(4) == 0) return std::nullopt;
    const auto count = [&] { return static_cast<std::uint32_t>(one_of(5) == 0 ? random() : one_of(20)); };
    return pvmmu::FrameState{static_cast<FrameType>(one_of(pvmmu::frame_types)), false, count(), count()};
  };
  pvmmu::TraceEvent e;
  do e.kind = static_cast<TraceKind>(one_of(pvmmu::trace_kinds));
  while (e.kind == TraceKind::entered || e.kind == TraceKind::state || e.kind == TraceKind::domain_begins);
  e.domain = DomId(static_cast<std::uint16_t>(one_of(6) == 0 ? one_of(4) : 0));
  const bool typed =
      e.kind == TraceKind::hold || e.kind == TraceKind::protected_frame || e.kind == TraceKind::plain_frame;
  if (typed) e.wanted = static_cast<FrameType>(one_of(pvmmu::frame_types));
  if (!typed) e.level = static_cast<std::uint8_t>(one_of(5));
  e.marks.preserve = one_of(2) != 0;
  e.marks.flush = one_of(2) != 0;
  e.marks.budgeted = one_of(8) == 0;
  e.budget = e.marks.budgeted ? random() : 0;
  if (one_of(2) != 0) e.table = frame(), e.slot = static_cast<std::uint16_t>(one_of(512));
  if (one_of(2) != 0) e.now = Pte(one_of(2) != 0 ? random() : one_of(1 << 30));
  if (one_of(2) != 0) e.old = Pte(one_of(2) != 0 ? random() : one_of(1 << 30));
  e.frame = one_of(2) != 0 ? named_frame(e.now, e.old) : frame();
  if (one_of(4) == 0) e.root = frame();
  if (one_of(3) == 0) e.argument = random();
  if (one_of(3) == 0) e.count = random();
  if (one_of(3) == 0)
    e.grant = GrantName(DomId(static_cast<std::uint16_t>(one_of(9))),
                        GrantRef(static_cast<std::uint32_t>(random())));
  e.marks.cleared = one_of(3) == 0;
  e.before = state();
  e.after = state();
  if (one_of(4) == 0) {
    e.refusal = pvmmu::Refusal{};
    e.refusal->rule = static_cast<pvmmu::Rule>(one_of(pvmmu::rules.size()));
    if (one_of(2) != 0) e.refusal->table = frame(), e.refusal->slot = 3;
    if (one_of(2) != 0) e.refusal->entry = Pte(random());
    if (one_of(2) != 0) e.refusal->frame = frame(), e.refusal->state.refs = 7;
  }
  if (e.kind == TraceKind::protected_frame) {
    contents.resize(pvmmu::entries_per_table);
    for (std::size_t i = 0; i < contents.size();) {
      const std::uint64_t word = one_of(3) == 0 ? 0 : random(), step = one_of(3) * 0x1000 - 0x1000;
      for (std::uint64_t run = one_of(40) + 1, k = 0; k < run && i < contents.size(); ++k, ++i)
        contents[i] = word + k * step;
    }
    e.contents = contents;
  }
  return e;
}

TEST(EventCode, whatever_is_told_is_read_again) {
  std::mt19937_64 random(1);
  EventCoder coder;
  EventDecoder decoder;
  for (int block = 0; block < 40; ++block) {
    std::vector<std::byte> payload;
    std::vector<pvmmu::TraceEvent> told(100);
    std::vector<std::vector<std::uint64_t>> contents(told.size());
    std::vector<std::uint64_t> times;
    std::uint64_t time = random() >> 8;
    coder.begin_block(time);
    const std::uint64_t base = time;
    for (std::size_t i = 0; i < told.size(); ++i) {
      told[i] = random_event(random, contents[i]);
      times.push_back(time += random() % 3 * 1000);
      coder.append(payload, told[i], time, i);
    }
    decoder.begin_block(payload, base);
    for (std::size_t i = 0; i < told.size(); ++i) {
      LogEvent read;
      ASSERT_TRUE(decoder.next(read));
      expect_same(told[i], read);
      EXPECT_EQ(read.domain, told[i].domain);
      EXPECT_EQ(read.time, times[i]);
      EXPECT_EQ(read.cost, i);
      EXPECT_TRUE(std::ranges::equal(read.contents, contents[i]));
    }
    EXPECT_TRUE(decoder.at_end());
  }
}

TEST(Log, tells_what_the_validator_told) {
  // The same life twice: once recorded by a keeper, once by a log.
  Keeper keeper;
  test::World world(keeper);
  live_a_life(world);
  const auto bytes = test::recorded_log();
  auto log = LogReader::from(bytes);
  ASSERT_TRUE(log.has_value());
  std::size_t at = 0;
  std::uint64_t number = 0, entered = 0, time = 0;
  while (log->next() == LogReader::Step::event) {
    EXPECT_EQ(log->event().number, number++);
    EXPECT_GE(log->event().time, time);
    time = log->event().time;
    if (log->event().kind == pvmmu::TraceKind::entered) {
      ++entered;
      continue;
    }
    ASSERT_LT(at, keeper.kept.size());
    expect_same(keeper.kept[at].event, log->event());
    EXPECT_TRUE(std::ranges::equal(keeper.kept[at].contents, log->event().contents));
    EXPECT_TRUE(std::ranges::equal(keeper.kept[at].digests, log->event().digests));
    ++at;
  }
  EXPECT_EQ(at, keeper.kept.size());
  EXPECT_GE(entered, 600U);
  EXPECT_EQ(log->offset(), bytes.size());
  EXPECT_LT(static_cast<double>(bytes.size()) / static_cast<double>(number), 24.0);
}

/// Reads to the end; how many events came.
std::uint64_t count_events(LogReader& log, LogReader::Step& end) {
  std::uint64_t events = 0;
  while ((end = log.next()) == LogReader::Step::event) ++events;
  return events;
}

TEST(Log, cut_off_anywhere_it_gives_its_whole_blocks_and_says_where_it_ends) {
  const auto bytes = test::recorded_log();
  std::uint64_t before = 0;
  for (std::size_t size = 0; size < bytes.size(); size += size < 1024 ? 1 : 61) {
    auto log = LogReader::from(std::span(bytes).first(size));
    if (size < log_header_bytes) {
      ASSERT_FALSE(log.has_value());
      EXPECT_LE(log.error().offset, size);
      continue;
    }
    ASSERT_TRUE(log.has_value());
    LogReader::Step end{};
    const std::uint64_t events = count_events(*log, end);
    EXPECT_GE(events, before);
    before = events;
    if (size == log->offset()) {
      EXPECT_EQ(end, LogReader::Step::end);
    } else {
      EXPECT_EQ(end, LogReader::Step::cut_off);
      EXPECT_EQ(log->error().offset, size);
    }
  }
}

TEST(Log, with_any_byte_changed_it_gives_what_precedes_and_says_where) {
  const auto whole = test::recorded_log();
  std::mt19937_64 random(7);
  for (std::size_t at = 0; at < whole.size(); at += at < 400 ? 1 : 97) {
    auto bytes = whole;
    bytes[at] ^= static_cast<std::byte>(1U << random() % 8);
    auto log = LogReader::from(bytes);
    if (at < log_header_bytes) {
      EXPECT_FALSE(log.has_value());
      continue;
    }
    ASSERT_TRUE(log.has_value());
    LogReader::Step end{};
    (void)count_events(*log, end);
    EXPECT_TRUE(end == LogReader::Step::damaged || end == LogReader::Step::cut_off) << at;
    EXPECT_LE(log->offset(), at);
    EXPECT_FALSE(log->error().message.empty());
    EXPECT_EQ(log->next(), end) << "it goes on after the damage";
  }
}

// A reader does not look for gigabytes because a header names them.
TEST(Log, whose_block_claims_to_be_longer_than_any_is_damaged_there) {
  auto bytes = test::recorded_log();
  constexpr std::uint32_t too_long = most_payload + 1;
  for (unsigned i = 0; i < 4; ++i)
    bytes[log_header_bytes + 4 + i] = static_cast<std::byte>(too_long >> (8 * i));
  auto log = LogReader::from(bytes);
  ASSERT_TRUE(log.has_value());
  EXPECT_EQ(log->next(), LogReader::Step::damaged);
  EXPECT_EQ(log->error().offset, log_header_bytes);
}

TEST(Log, of_another_version_is_refused_by_its_number) {
  auto bytes = test::recorded_log();
  bytes[8] = std::byte{format_version + 1};
  const auto log = LogReader::from(bytes);
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().offset, 8U);
  EXPECT_NE(log.error().message.find("version 3"), std::string::npos);
}

// Its checksum is right: such a header is made on purpose, so that a reader takes memory for the machine.
TEST(Log, whose_header_describes_no_machine_that_can_be_is_refused) {
  LogHeader sane;
  sane.ticks_per_second = 1'000'000'000;
  sane.machine_frames = most_frames;
  sane.mirror_pages = 2 * most_frames;
  sane.withheld = {Mfn(most_frames - 1), 1};
  sane.vcpus = most_vcpus;
  sane.domain = DomId(1);
  ASSERT_TRUE(decode_log_header(encode(sane)).has_value());
  const auto is_refused = [&](auto&& change) {
    LogHeader header = sane;
    change(header);
    const auto decoded = decode_log_header(encode(header));
    return !decoded && decoded.error().offset == 16;
  };
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.ticks_per_second = 0; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.ticks_per_second = 1'000'000'000'001; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.machine_frames = 0, h.withheld = {}; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.machine_frames = most_frames + 1; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.mirror_pages = 0; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.mirror_pages = 2 * most_frames + 1; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.withheld = {Mfn(most_frames + 1), 0}; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.withheld = {Mfn(most_frames - 1), 2}; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.vcpus = most_vcpus + 1; }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.domain = DomId(0x7ff0); }));
  EXPECT_TRUE(is_refused([](LogHeader& h) { h.machphys_slot = 512; }));
}

TEST(Log, s_checksums_go_on_over_nothing_as_over_anything_else) {
  const std::vector<std::byte> header(28, std::byte{7});
  const auto whole = std::span(header);
  EXPECT_NE(checksum_of(whole, {}), 0U);
  EXPECT_EQ(checksum_of(whole, {}), checksum_of(whole.first(10), whole.subspan(10)));
  EXPECT_EQ(checksum_of(whole, {}), checksum_of({}, whole));
}

TEST(Log, that_is_something_else_is_refused) {
  const std::vector<std::byte> noise(1000, std::byte{'x'});
  EXPECT_FALSE(LogReader::from(noise).has_value());
  EXPECT_FALSE(LogReader::open("/dev/null").has_value());
  EXPECT_FALSE(LogReader::open("/nonexistent/log").has_value());
}

TEST(LogSink, when_the_output_fails_says_so_once_and_counts_what_is_lost) {
  int told = 0;
  LogSink::Options options;
  options.on_failure = [&](const std::string& why) {
    EXPECT_EQ(why, "no room");
    ++told;
  };
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<test::MemoryOutput>(bytes, log_header_bytes + 100), std::move(options));
  test::World world(sink);
  live_a_life(world);
  const auto account = sink.close();
  EXPECT_EQ(told, 1);
  EXPECT_GT(account.lost, 3000U);
  EXPECT_EQ(account.failure, "no room");
  EXPECT_EQ(account.bytes, bytes.size());
  auto log = LogReader::from(bytes);
  ASSERT_TRUE(log.has_value());
  LogReader::Step end{};
  EXPECT_EQ(count_events(*log, end), account.events);
  EXPECT_EQ(end, LogReader::Step::end);
}

/// Takes its time, most of all before it takes anything.
class SlowOutput final : public LogOutput {
 public:
  explicit SlowOutput(std::vector<std::byte>& bytes) : to_(bytes) {}
  bool begin(const LogHeader& header) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return to_.begin(header);
  }
  bool block(std::span<const std::byte> bytes) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return to_.block(bytes);
  }

 private:
  test::MemoryOutput to_;
};

TEST(LogSink, when_the_output_is_slow_waits_for_it_and_loses_nothing) {
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<SlowOutput>(bytes), {});
  test::World world(sink);
  live_a_life(world);  // more events than may be on their way at a time
  const auto account = sink.close();
  EXPECT_EQ(account.lost, 0U);
  auto log = LogReader::from(bytes);
  ASSERT_TRUE(log.has_value());
  LogReader::Step end{};
  auto whole = test::recorded_log();
  auto expected = LogReader::from(whole);
  std::uint64_t operations = 0;
  while (expected->next() == LogReader::Step::event)
    operations += is_operation(expected->event().kind) ? 1 : 0;
  while ((end = log->next()) == LogReader::Step::event) operations -= is_operation(log->event().kind) ? 1 : 0;
  EXPECT_EQ(end, LogReader::Step::end);
  EXPECT_EQ(operations, 0U);
  EXPECT_GT(account.events, 4096U);
}

TEST(LogSink, tells_in_each_block_anew_who_asks) {
  const auto bytes = test::recorded_log();
  auto log = LogReader::from(bytes);
  std::uint64_t blocks = 0, offset = 0;
  bool by_vcpu = false;
  while (log->next() == LogReader::Step::event) {
    const bool first_of_block = std::exchange(offset, log->offset()) != log->offset();
    if (first_of_block && by_vcpu) {
      EXPECT_EQ(log->event().kind, pvmmu::TraceKind::entered);
      ++blocks;
    }
    by_vcpu = log->event().by_vcpu;
  }
  EXPECT_GE(blocks, 1U);
}

/// A limit on the size of files, as a disk that fills up.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  rlimit before_{};
};

TEST(LogSink, on_a_disk_that_fills_up_leaves_a_log_that_ends_with_a_whole_block) {
  const std::filesystem::path file = testing::TempDir() + "filled.log";
  std::string why;
  LogSink::Options options;
  options.on_failure = [&](const std::string& told) { why += told; };
  LogSink::Account account;
  {
    const SmallDisk disk(20'000);
    LogSink sink(*file_output(file), std::move(options));
    test::World world(sink);
    live_a_life(world);
    account = sink.close();
  }
  EXPECT_NE(why.find("File too large"), std::string::npos);
  EXPECT_GT(account.lost, 0U);
  EXPECT_EQ(std::filesystem::file_size(file), account.bytes);
  auto log = LogReader::open(file);
  ASSERT_TRUE(log.has_value());
  LogReader::Step end{};
  EXPECT_EQ(count_events(*log, end), account.events);
  EXPECT_EQ(end, LogReader::Step::end);
}

TEST(LogSink, an_older_log_stays_until_the_new_one_begins) {
  const std::filesystem::path file = testing::TempDir() + "older.log";
  std::ofstream(file) << std::string(100'000, 'x');
  { const auto opened = file_output(file); }
  EXPECT_EQ(std::filesystem::file_size(file), 100'000U);
  LogSink sink(*file_output(file), {});
  test::World world(sink);
  const std::uint64_t bytes = sink.close().bytes;
  EXPECT_EQ(std::filesystem::file_size(file), bytes);
}

TEST(LogSink, writes_what_it_was_told_before_the_block_is_full) {
  const std::filesystem::path file = testing::TempDir() + "growing.log";
  std::filesystem::remove(file);
  LogSink::Options options;
  options.flush_after = std::chrono::milliseconds(1);
  LogSink sink(*file_output(file), options);
  test::World world(sink);
  std::uint64_t events = 0;
  auto log = LogReader::open(file);
  for (int tries = 0; tries < 1000 && events == 0; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!log) log = LogReader::open(file);
    while (log && log->next() == LogReader::Step::event) ++events;
  }
  EXPECT_EQ(events, 1U);  // the allocation of the world
  (void)world.domain.mmu.clear_page(world.domain.held, world.frame(1));
  (void)sink.close();
  EXPECT_EQ(log->next(), LogReader::Step::event) << "a reader at the end goes on when there is more";
}

}  // namespace
}  // namespace pinfold::trace
