// The exported trace, taken apart again: slices nest, counters say what the validator says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "recorded.hpp"
#include "report/causes.hpp"
#include "report/perfetto.hpp"
#include "report/protobuf.hpp"

namespace pinfold::report {
namespace {

using testing::Contains;
using testing::Each;
using testing::Key;

/// A message's fields in their order; of numbers the value, of the rest the bytes.
struct Field {
  unsigned number = 0;
  std::uint64_t value = 0;
  std::string bytes;
};
std::vector<Field> fields_of(std::string_view message) {
  std::vector<Field> all;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto next = static_cast<unsigned char>(message.at(at++));
      value |= std::uint64_t{next & 0x7fU} << shift;
      if (next < 0x80) return value;
    }
  };
  while (at < message.size()) {
    const std::uint64_t key = varint();
    Field field{static_cast<unsigned>(key >> 3), varint(), {}};
    if ((key & 7) == 2) {
      field.bytes = message.substr(at, field.value);
      EXPECT_EQ(field.bytes.size(), field.value);
      at += field.value;
    } else {
      EXPECT_EQ(key & 7, 0U);
    }
    all.push_back(std::move(field));
  }
  return all;
}
/// The first field of the number; an empty one if there is none.
Field first(const std::vector<Field>& fields, unsigned number) {
  for (const Field& field : fields)
    if (field.number == number) return field;
  return {};
}

/// What is in a trace, by the public field numbers.
struct Decoded {
  std::map<std::uint64_t, std::string> tracks;  ///< Thread and counter names by uuid.
  std::map<std::uint64_t, std::string> names;   ///< Of events, interned.
  struct Event {
    std::uint64_t time, type, track, name, value;
  };
  std::vector<Event> events;

  explicit Decoded(const std::string& trace) {
    for (const Field& packet : fields_of(trace)) {
      EXPECT_EQ(packet.number, 1U);
      const auto fields = fields_of(packet.bytes);
      EXPECT_EQ(first(fields, 10).value, 1U);  // trusted_packet_sequence_id
      for (const Field& interned : fields_of(first(fields, 12).bytes))
        if (interned.number == 2) {
          const auto name = fields_of(interned.bytes);
          EXPECT_TRUE(names.emplace(first(name, 1).value, first(name, 2).bytes).second);
        }
      const auto track = fields_of(first(fields, 60).bytes);
      if (!track.empty()) {
        const std::string thread = first(fields_of(first(track, 4).bytes), 5).bytes;
        tracks[first(track, 1).value] = thread.empty() ? first(track, 2).bytes : thread;
      }
      const auto event = fields_of(first(fields, 11).bytes);
      if (!event.empty())
        events.push_back({first(fields, 8).value, first(event, 9).value, first(event, 11).value,
                          first(event, 10).value, first(event, 30).value});
    }
  }
};

Decoded exported(std::span<const std::byte> log) {
  auto reader = trace::LogReader::from(log);
  EXPECT_TRUE(reader);
  std::ostringstream to;
  (void)write_perfetto(*reader, to);
  return Decoded(to.str());
}

enum Type : std::uint8_t { slice_begin = 1, slice_end = 2, instant = 3, counter = 4 };

TEST(Protobuf, numbers_and_strings_are_as_the_format_has_them) {
  // The example of the format's documentation: field 1 is 150.
  EXPECT_EQ(ProtoMessage().number(1, 150).bytes(), "\x08\x96\x01");
  EXPECT_EQ(ProtoMessage().text(2, "testing").bytes(), "\x12\x07testing");
  EXPECT_EQ(ProtoMessage().message(3, ProtoMessage().number(1, 150)).bytes(), "\x1a\x03\x08\x96\x01");
}

TEST(Perfetto, every_track_is_described_and_every_name_told_before_it_is_used) {
  const Decoded trace = exported(trace::test::recorded_log());
  std::vector<std::string> names;
  for (const auto& [uuid, name] : trace.tracks) names.push_back(name);
  EXPECT_THAT(names, testing::IsSupersetOf({"builder", "vCPU 0", "vCPU 1", "L1 tables", "L4 tables",
                                            "pinned tables", "frames mapped writable"}));
  for (const Decoded::Event& event : trace.events) {
    EXPECT_THAT(trace.tracks, Contains(Key(event.track)));
    if (event.type == slice_begin || event.type == instant) {
      EXPECT_THAT(trace.names, Contains(Key(event.name)));
    }
  }
}

TEST(Perfetto, slices_nest_and_end_on_each_track) {
  const Decoded trace = exported(trace::test::recorded_log());
  std::map<std::uint64_t, std::vector<std::uint64_t>> open;
  std::map<std::uint64_t, std::uint64_t> last;
  std::size_t slices = 0;
  for (const Decoded::Event& event : trace.events) {
    EXPECT_GE(event.time, last[event.track]);
    last[event.track] = event.time;
    if (event.type == slice_begin) open[event.track].push_back(event.time), ++slices;
    if (event.type == slice_end) {
      ASSERT_FALSE(open[event.track].empty());
      EXPECT_GE(event.time, open[event.track].back());
      open[event.track].pop_back();
    }
    EXPECT_LE(open[event.track].size(), 2U);
  }
  for (const auto& [track, left] : open) EXPECT_TRUE(left.empty()) << trace.tracks.at(track);
  EXPECT_GT(slices, 3000U);
}

TEST(Perfetto, operations_are_within_the_hypercall_that_asked_for_them) {
  const Decoded trace = exported(trace::test::recorded_log());
  std::map<std::uint64_t, std::string> in;
  std::size_t updates = 0;
  for (const Decoded::Event& event : trace.events) {
    if (event.type != slice_begin || trace.tracks.at(event.track) == "builder") continue;
    const std::string& name = trace.names.at(event.name);
    if (name == "mmu_update") in[event.track] = name;
    if (name != "update") continue;
    ++updates;
    EXPECT_EQ(in[event.track], "mmu_update");
  }
  EXPECT_GT(updates, 1000U);
}

TEST(Perfetto, what_comes_behind_an_exits_last_operation_is_within_the_exit) {
  std::vector<std::byte> log;
  trace::LogSink sink(std::make_unique<trace::test::MemoryOutput>(log), {});
  trace::test::World world(sink);
  sink.vcpu_entered(VcpuId(0), GuestVaddr(0xffffffff81000000), 1);
  (void)world.domain.mmu.clear_page(world.domain.held, world.frame(41));
  pvmmu::TraceEvent flush;
  flush.kind = pvmmu::TraceKind::flushed;
  sink.event(flush);
  sink.vcpu_entered(VcpuId(0), GuestVaddr(0xffffffff81000000), 1);
  (void)sink.close();

  const Decoded trace = exported(log);
  std::uint64_t flushed = 0, exit_end = 0, depth = 0;
  for (const Decoded::Event& event : trace.events) {
    if (trace.tracks.at(event.track) != "vCPU 0") continue;
    if (event.type == slice_begin) ++depth;
    if (event.type == slice_end && --depth == 0 && exit_end == 0) exit_end = event.time;
    if (event.type == instant && trace.names.at(event.name) == "flushed") flushed = event.time;
  }
  ASSERT_NE(flushed, 0U);
  EXPECT_EQ(exit_end, flushed);
}

TEST(Perfetto, a_refused_use_of_a_grant_has_the_name_of_its_rule) {
  std::vector<std::byte> log;
  trace::LogSink sink(std::make_unique<trace::test::MemoryOutput>(log), {});
  trace::test::World world(sink);
  pvmmu::TraceEvent use;
  use.kind = pvmmu::TraceKind::use_grant;
  sink.event(use);
  use.refusal.emplace().rule = pvmmu::Rule::grant_not_granted;
  sink.event(use);
  (void)sink.close();

  const Decoded trace = exported(log);
  std::vector<std::string> instants;
  for (const Decoded::Event& event : trace.events)
    if (event.type == instant && trace.names.at(event.name).find("grant") != std::string::npos)
      instants.push_back(trace.names.at(event.name));
  EXPECT_EQ(instants, (std::vector<std::string>{"use-grant", "refused: grant.not-granted"}));
}

TEST(Perfetto, counters_rise_with_the_tables_and_are_zero_at_the_end) {
  const Decoded trace = exported(trace::test::recorded_log());
  std::map<std::string, std::vector<std::uint64_t>> values;
  for (const Decoded::Event& event : trace.events)
    if (event.type == counter) values[trace.tracks.at(event.track)].push_back(event.value);
  for (const char* name : {"L1 tables", "L2 tables", "L3 tables", "L4 tables", "pinned tables"}) {
    EXPECT_THAT(values[name], Contains(1U)) << name;
    EXPECT_THAT(values[name], Each(testing::Le(1U))) << name;
  }
  // Eight frames by the tree's own entries, twenty in the end.
  EXPECT_THAT(values["frames mapped writable"], Contains(8U));
  EXPECT_THAT(values["frames mapped writable"], Each(testing::Le(20U)));
  for (const auto& [name, all] : values) EXPECT_EQ(all.back(), 0U) << name;
}

TEST(Perfetto, refusals_are_instants_of_their_rule) {
  const auto log = trace::test::recorded_log();
  const Decoded trace = exported(log);
  std::size_t refused = 0, told = 0;
  for (const Decoded::Event& event : trace.events)
    if (event.type == instant && trace.names.at(event.name).starts_with("refused: ")) ++told;
  auto reader = trace::LogReader::from(log);
  while (reader->next() == trace::LogReader::Step::event)
    if (const auto& refusal = reader->event().refusal; refusal && refusal->rule != pvmmu::Rule::unfinished)
      ++refused;
  EXPECT_EQ(told, refused);
  EXPECT_GT(refused, 0U);
}

TEST(Perfetto, a_log_cut_off_gives_a_whole_trace_of_what_precedes) {
  const auto log = trace::test::recorded_log();
  auto reader = trace::LogReader::from(std::span(log).first(log.size() * 9 / 10));
  std::ostringstream to;
  const PerfettoResult result = write_perfetto(*reader, to);
  EXPECT_FALSE(result.trouble.empty());
  EXPECT_GT(result.events, 0U);
  EXPECT_FALSE(Decoded(to.str()).events.empty());
}

TEST(Causes, have_the_names_of_the_abi) {
  EXPECT_EQ(cause_label(1), "mmu_update");
  EXPECT_EQ(cause_label(26), "mmuext_op");
  EXPECT_EQ(cause_label(pvmmu::cause_exception + 14), "page fault");
  EXPECT_EQ(cause_label(200), "hypercall 200");
  EXPECT_EQ(cause_label(pvmmu::cause_other), "other exit");
}

}  // namespace
}  // namespace pinfold::report
