#include "report/perfetto.hpp"

#include <fmt/format.h>

#include <map>
#include <ostream>
#include <set>
#include <unordered_map>

#include "report/causes.hpp"
#include "report/follower.hpp"
#include "report/protobuf.hpp"

namespace pinfold::report {
namespace {

using pvmmu::TraceKind;

// Field numbers of Perfetto's public definitions, protos/perfetto/trace/ in its sources, by file.
namespace packet {  // trace_packet.proto: TracePacket; in trace.proto, Trace has these as its field 1
constexpr unsigned in_trace = 1, timestamp = 8, sequence_id = 10, track_event = 11, interned_data = 12,
                   sequence_flags = 13, track_descriptor = 60;
constexpr std::uint64_t incremental_state_cleared = 1, needs_incremental_state = 2;
}  // namespace packet
namespace descriptor {  // track_event/track_descriptor.proto, process_, thread_ and counter_descriptor.proto
constexpr unsigned uuid = 1, name = 2, process = 3, thread = 4, parent = 5, counter = 8;
constexpr unsigned process_pid = 1, process_name = 6;
constexpr unsigned thread_pid = 1, thread_tid = 2, thread_name = 5;
constexpr unsigned counter_unit = 3;
constexpr std::uint64_t unit_count = 2;
}  // namespace descriptor
namespace track_event {  // track_event/track_event.proto
constexpr unsigned annotations = 4, type = 9, name_iid = 10, track_uuid = 11, counter_value = 30;
constexpr std::uint64_t slice_begin = 1, slice_end = 2, instant = 3, counter = 4;
}  // namespace track_event
namespace annotation {  // track_event/debug_annotation.proto
constexpr unsigned name_iid = 1, uint_value = 3, string_value = 6, pointer_value = 7;
}  // namespace annotation
namespace interned {  // interned_data/interned_data.proto; EventName and DebugAnnotationName
constexpr unsigned event_names = 2, annotation_names = 3, iid = 1, name = 2;
}  // namespace interned

constexpr std::uint64_t sequence = 1;
constexpr std::uint64_t builder_tid = 0x1fff;  // a log has 4096 vCPUs at most
// Of a domain: the first has those that follow, another the same and its number above.
constexpr std::uint64_t process_uuid = 1, builder_uuid = 2, first_counter_uuid = 10, first_vcpu_uuid = 100;
constexpr unsigned domain_shift = 20;

enum Counter : std::uint8_t { l1, l2, l3, l4, descriptors, pins, writable, counters };
constexpr std::array<std::string_view, counters> counter_names{"L1 tables",
                                                               "L2 tables",
                                                               "L3 tables",
                                                               "L4 tables",
                                                               "descriptor pages",
                                                               "pinned tables",
                                                               "frames mapped writable"};

std::array<std::uint64_t, counters> values_of(const FrameCounts& now) {
  const auto of = [&](pvmmu::FrameType type) { return now.tables[static_cast<std::size_t>(type)]; };
  return {of(pvmmu::FrameType::l1),
          of(pvmmu::FrameType::l2),
          of(pvmmu::FrameType::l3),
          of(pvmmu::FrameType::l4),
          of(pvmmu::FrameType::seg_desc),
          now.pinned,
          now.writable};
}

/// Nobody needs to know which frame.
class Nobody final : public FrameListener {
  void looks(Mfn, std::uint64_t, Look) override {}
  void link(Mfn, std::uint16_t, Mfn, bool) override {}
};

class Exporter {
 public:
  Exporter(const trace::LogHeader& header, std::ostream& to)
      : header_(header), to_(to), follower_(header, nobody_) {
    describe_tracks();
  }

  void event(const trace::LogEvent& event) {
    follower_.event(event);
    const std::uint64_t track =
        of_domain(event.domain, event.by_vcpu ? first_vcpu_uuid + event.vcpu.raw() : builder_uuid);
    const std::uint64_t now = nanoseconds(event.time);
    Track& on = track_of(track, event);
    if (event.kind == TraceKind::entered) return enter(track, on, event, now);
    const std::uint64_t begin = std::max(now, on.end);
    if (pvmmu::is_operation(event.kind)) {
      const std::uint64_t end = begin + nanoseconds(event.cost);
      begin_slice(track, begin, event);
      if (event.refusal && event.refusal->rule != pvmmu::Rule::unfinished)
        instant(track, begin, fmt::format("refused: {}", info(event.refusal->rule).name), event);
      end_slice(track, end);
      on.end = end;
      tell_counters(end);
    } else {
      instant(track, begin,
              event.refusal ? fmt::format("refused: {}", info(event.refusal->rule).name)
                            : std::string(name(event.kind)),
              event);
      on.end = begin;
    }
  }

  void finish() {
    for (auto& [uuid, track] : tracks_)
      if (track.inside) end_slice(uuid, track.end);
  }

 private:
  struct Track {
    std::uint64_t end = 0;  ///< Of what came last on it, nanoseconds.
    bool inside = false;    ///< An exit's slice is open.
  };

  [[nodiscard]] std::uint64_t nanoseconds(std::uint64_t ticks) const {
    return static_cast<std::uint64_t>(header_.nanoseconds(ticks));
  }

  void write(ProtoMessage& message, bool first = false) {
    message.number(packet::sequence_id, sequence)
        .number(packet::sequence_flags,
                first ? packet::incremental_state_cleared | packet::needs_incremental_state
                      : packet::needs_incremental_state);
    if (!fresh_.bytes().empty()) message.message(packet::interned_data, fresh_);
    fresh_.clear();
    ProtoMessage trace;
    trace.message(packet::in_trace, message);
    to_ << trace.bytes();
  }

  void describe(const ProtoMessage& track, bool first = false) {
    ProtoMessage message;
    message.message(packet::track_descriptor, track);
    write(message, first);
  }

  void describe_tracks() {
    describe_domain(header_.domain);
    for (std::uint64_t i = 0; i < counters; ++i)
      describe(ProtoMessage()
                   .number(descriptor::uuid, first_counter_uuid + i)
                   .number(descriptor::parent, process_uuid)
                   .text(descriptor::name, counter_names[i])
                   .message(descriptor::counter,
                            ProtoMessage().number(descriptor::counter_unit, descriptor::unit_count)));
  }
  void describe_domain(DomId domain) {
    const bool first = domains_.empty();
    if (!domains_.insert(domain).second) return;
    ProtoMessage process;
    process.number(descriptor::process_pid, pid(domain))
        .text(descriptor::process_name, fmt::format("domain {}", domain.raw()));
    describe(ProtoMessage()
                 .number(descriptor::uuid, of_domain(domain, process_uuid))
                 .message(descriptor::process, process),
             first);
  }
  /// The domain's number; process 0 would be the idle one.
  [[nodiscard]] static std::uint64_t pid(DomId domain) { return domain.raw() != 0 ? domain.raw() : 0xffff; }
  [[nodiscard]] std::uint64_t of_domain(DomId domain, std::uint64_t uuid) const {
    return domain == header_.domain ? uuid : (std::uint64_t{domain.raw()} + 1) << domain_shift | uuid;
  }

  /// A thread for it, when it is met first.
  Track& track_of(std::uint64_t uuid, const trace::LogEvent& event) {
    const auto [at, added] = tracks_.try_emplace(uuid);
    if (!added) return at->second;
    describe_domain(event.domain);
    const std::uint64_t tid = event.by_vcpu ? event.vcpu.raw() : builder_tid;
    ProtoMessage thread;
    thread.number(descriptor::thread_pid, pid(event.domain))
        .number(descriptor::thread_tid, pid(event.domain) << 13 | tid)
        .text(descriptor::thread_name, event.by_vcpu ? fmt::format("vCPU {}", event.vcpu.raw()) : "builder");
    describe(ProtoMessage()
                 .number(descriptor::uuid, uuid)
                 .number(descriptor::parent, of_domain(event.domain, process_uuid))
                 .message(descriptor::thread, thread));
    return at->second;
  }

  std::uint64_t interned(std::unordered_map<std::string, std::uint64_t>& known, unsigned field,
                         const std::string& text) {
    const auto [at, added] = known.try_emplace(text, known.size() + 1);
    if (added)
      fresh_.message(field, ProtoMessage().number(interned::iid, at->second).text(interned::name, text));
    return at->second;
  }

  void annotate(ProtoMessage& to, const char* name, unsigned field, std::uint64_t value) {
    const std::uint64_t iid = interned(annotation_names_, interned::annotation_names, name);
    to.message(track_event::annotations,
               ProtoMessage().number(annotation::name_iid, iid).number(field, value));
  }

  void details(ProtoMessage& to, const trace::LogEvent& event) {
    annotate(to, "event", annotation::uint_value, event.number);
    if (event.kind == TraceKind::entered)
      return annotate(to, "ip", annotation::pointer_value, event.argument);
    if (event.table != no_mfn) {
      annotate(to, "table", annotation::pointer_value, event.table.raw());
      annotate(to, "slot", annotation::uint_value, event.slot);
      annotate(to, "old", annotation::pointer_value, event.old.raw());
      annotate(to, "new", annotation::pointer_value, event.now.raw());
    }
    if (event.level != 0) annotate(to, "level", annotation::uint_value, event.level);
    if (event.frame != no_mfn) annotate(to, "frame", annotation::pointer_value, event.frame.raw());
    if (event.grant && event.grant->lender != no_domain) {
      annotate(to, "lender", annotation::uint_value, event.grant->lender.raw());
      annotate(to, "grant", annotation::uint_value, event.grant->ref.raw());
    }
    if (!event.refusal || event.refusal->rule == pvmmu::Rule::unfinished) return;
    const std::uint64_t iid = interned(annotation_names_, interned::annotation_names, "refusal");
    to.message(track_event::annotations, ProtoMessage()
                                             .number(annotation::name_iid, iid)
                                             .text(annotation::string_value, event.refusal->describe()));
  }

  ProtoMessage on_track(std::uint64_t track, std::uint64_t type) {
    ProtoMessage event;
    event.number(track_event::type, type).number(track_event::track_uuid, track);
    return event;
  }
  void put(const ProtoMessage& event, std::uint64_t time) {
    ProtoMessage message;
    message.number(packet::timestamp, time).message(packet::track_event, event);
    write(message);
  }
  void named(std::uint64_t track, std::uint64_t type, std::uint64_t time, const std::string& text,
             const trace::LogEvent& event) {
    ProtoMessage message = on_track(track, type);
    message.number(track_event::name_iid, interned(event_names_, interned::event_names, text));
    details(message, event);
    put(message, time);
  }
  void begin_slice(std::uint64_t track, std::uint64_t time, const trace::LogEvent& event) {
    named(track, track_event::slice_begin, time, std::string(name(event.kind)), event);
  }
  void instant(std::uint64_t track, std::uint64_t time, const std::string& text,
               const trace::LogEvent& event) {
    named(track, track_event::instant, time, text, event);
  }
  void end_slice(std::uint64_t track, std::uint64_t time) {
    put(on_track(track, track_event::slice_end), time);
  }

  /// The exit's slice lasts to the end of what came last in it: the log tells no more. A block tells it
  /// again for the events that are in the next one.
  void enter(std::uint64_t track, Track& on, const trace::LogEvent& event, std::uint64_t now) {
    if (event.marks.continued && on.inside) return;
    if (on.inside) end_slice(track, on.end);
    on.end = std::max(on.end, now);
    on.inside = true;
    named(track, track_event::slice_begin, on.end, cause_label(event.count), event);
  }

  void tell_counters(std::uint64_t time) {
    const auto values = values_of(follower_.counts());
    // Tracks of several vCPUs may be ahead of each other by an operation.
    counted_until_ = std::max(counted_until_, time);
    for (std::uint64_t i = 0; i < counters; ++i) {
      if (told_ && values[i] == values_[i]) continue;
      ProtoMessage event = on_track(first_counter_uuid + i, track_event::counter);
      event.number(track_event::counter_value, values[i]);
      put(event, counted_until_);
    }
    values_ = values;
    told_ = true;
  }

  trace::LogHeader header_;
  std::ostream& to_;
  Nobody nobody_;
  FrameFollower follower_;
  std::set<DomId> domains_;                ///< Those that are described.
  std::map<std::uint64_t, Track> tracks_;  ///< By uuid.
  std::unordered_map<std::string, std::uint64_t> event_names_, annotation_names_;
  ProtoMessage fresh_;  ///< Names that the next packet has to tell.
  std::array<std::uint64_t, counters> values_{};
  bool told_ = false;
  std::uint64_t counted_until_ = 0;
};

}  // namespace

PerfettoResult write_perfetto(trace::LogReader& log, std::ostream& to) {
  Exporter exporter(log.header(), to);
  PerfettoResult result;
  trace::LogReader::Step step;
  while ((step = log.next()) == trace::LogReader::Step::event) {
    exporter.event(log.event());
    ++result.events;
  }
  exporter.finish();
  if (step != trace::LogReader::Step::end) result.trouble = log.error().describe();
  return result;
}

}  // namespace pinfold::report
