#include "cli/logs/trace_command.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "cli/exit_codes.hpp"
#include "cli/logs/log_inputs.hpp"
#include "trace/predicate.hpp"
#include "trace/reader.hpp"
#include "trace/replay.hpp"
#include "trace/summary.hpp"

namespace pinfold::cli {
namespace {

using trace::LogReader;

int complain(int code, const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return code;
}

bool put(const std::string& text) { return std::fwrite(text.data(), 1, text.size(), stdout) == text.size(); }

/// What to say of a log that did not end well; 0 if it did.
int verdict_on(const std::filesystem::path& log, const LogReader& reader, LogReader::Step end) {
  if (end == LogReader::Step::end) return 0;
  return complain(exit_bad_image, fmt::format("{}: {}", log.string(), reader.error().describe()));
}

constexpr std::chrono::milliseconds pause(100);  ///< Between two looks at a log that grows.

/// Have all domains of a log ended?
class DomainsEnd {
 public:
  void hear(const trace::LogEvent& event) {
    if (event.kind == pvmmu::TraceKind::domain_begins) ++living_;
    if (event.kind == pvmmu::TraceKind::destroy) --living_;
  }
  [[nodiscard]] bool all() const { return living_ <= 0; }

 private:
  std::int64_t living_ = 1;
};

/// Until the log has its header.
void wait_for_header(const std::filesystem::path& log) {
  std::error_code error;
  while (std::filesystem::is_regular_file(log, error) &&
         std::filesystem::file_size(log, error) < trace::log_header_bytes && !error)
    std::this_thread::sleep_for(pause);
}

/// The next event; with `follow`, one that is still to be written. What is known is shown before waiting.
LogReader::Step next_event(LogReader& reader, bool follow) {
  while (true) {
    const LogReader::Step step = reader.next();
    if (!follow || (step != LogReader::Step::end && step != LogReader::Step::cut_off)) return step;
    std::fflush(stdout);
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace

int trace_command(const TraceCommandOptions& options) {
  const auto filter = trace::Filter::of(options.filters);
  if (!filter) return complain(exit_usage, "--filter: " + filter.error());
  if (options.follow) wait_for_header(options.log);
  auto inputs = LogInputs::open(options.log, options.system_map);
  if (!inputs) return complain(exit_bad_image, inputs.error());
  auto content = inputs->read();
  if (!content) return complain(exit_bad_image, content.error());
  trace::LogReader& reader = content->log;
  const trace::Namer& namer = content->namer;

  reader.allow_all();  // a line costs the same whatever the event is about

  trace::Summary summary;
  DomainsEnd ends;
  LogReader::Step step{};
  while ((step = next_event(reader, options.follow)) == LogReader::Step::event) {
    const trace::LogEvent& event = reader.event();
    if (filter->matches(event)) {
      if (options.summary)
        summary.add(event);
      else if (!put((options.json ? json_of(reader.header(), event, namer)
                                  : line_of(reader.header(), event, namer)) +
                    '\n'))
        return complain(exit_bad_image, "the output can't be written");
    }
    ends.hear(event);
    if (ends.all() && options.follow) {
      step = LogReader::Step::end;
      break;
    }
  }
  if (options.summary)
    put(options.json ? summary.json(reader.header(), namer) : summary.text(reader.header(), namer));
  std::fflush(stdout);
  return verdict_on(options.log, reader, step);
}

namespace {

/// Where a replay is to stop.
class Stop {
 public:
  static tl::expected<Stop, std::string> of(const ReplayOptions& options) {
    Stop stop;
    stop.until_ = options.until;
    if (!options.break_on.empty()) {
      const std::string condition =
          "verdict=" + (options.break_on == "any" ? std::string("refused") : options.break_on);
      if (auto added = stop.refusal_.add(condition); !added)
        return tl::unexpected("--break-on: " + added.error());
    }
    if (!options.bisect.empty()) {
      auto predicate = trace::Predicate::parse(options.bisect);
      if (!predicate) return tl::unexpected("--bisect: " + predicate.error());
      stop.predicate_ = std::move(*predicate);
    }
    return stop;
  }
  [[nodiscard]] bool here(const trace::LogEvent& event, const trace::Replay& replay) const {
    if (until_ && event.number >= *until_) return true;
    if (!refusal_.empty() && refusal_.matches(event)) return true;
    return predicate_ && is_operation(event.kind) &&
           predicate_->holds(replay.domain_of(predicate_->frame()).mmu());
  }
  [[nodiscard]] bool looked_for() const { return !refusal_.empty() || predicate_; }
  [[nodiscard]] std::optional<Mfn> frame() const {
    return predicate_ ? std::optional(predicate_->frame()) : std::nullopt;
  }

 private:
  std::optional<std::uint64_t> until_;
  trace::Filter refusal_;
  std::optional<trace::Predicate> predicate_;
};

std::string describe(const trace::Replay& replay, Mfn mfn) {
  const pvmmu::Validator& mmu = replay.domain_of(mfn).mmu();
  const bool several = replay.begun() > 1;
  if (!mmu.contains(mfn)) return fmt::format("frame {:#x} is past the end of the machine", mfn.raw());
  if (!mmu.owns(mfn))
    return fmt::format("frame {:#x} is {}", mfn.raw(), several ? "no domain's" : "not the domain's");
  const pvmmu::Frame f = mmu.frame(mfn);
  return fmt::format("frame {:#x}{}: {} x{}, {} references{}{}{}", mfn.raw(),
                     several ? fmt::format(" of d{}", mmu.domain().raw()) : "", name(f.type), f.type_count,
                     f.refs, f.pinned ? ", pinned" : "", f.partial ? ", partial" : "",
                     f.special ? ", special" : "");
}

void print_state(const pvmmu::Validator& mmu) {
  std::array<std::uint64_t, pvmmu::frame_types> counts{};
  std::uint64_t pinned = 0, owned = 0;
  for (std::uint64_t i = 0; i < mmu.machine_frames(); ++i) {
    if (!mmu.owns(Mfn(i))) continue;
    const pvmmu::Frame frame = mmu.frame(Mfn(i));
    ++owned;
    ++counts[static_cast<std::size_t>(frame.type_count != 0 ? frame.type : pvmmu::FrameType::none)];
    if (frame.pinned) ++pinned;
  }
  fmt::print("{} frames, {} pinned:", owned, pinned);
  for (std::size_t t = 0; t < counts.size(); ++t)
    fmt::print(" {} {}", counts[t], name(static_cast<pvmmu::FrameType>(t)));
  fmt::print("\n");
}

void print_state(const trace::Replay& replay) {
  for (const auto& [id, domain] : replay.domains()) {
    if (replay.begun() > 1) fmt::print("d{}: ", id.raw());
    print_state(domain->mmu());
  }
}

}  // namespace

int replay_command(const ReplayOptions& options) {
  const auto stop = Stop::of(options);
  if (!stop) return complain(exit_usage, stop.error());
  auto inputs = LogInputs::open(options.log, options.system_map);
  if (!inputs) return complain(exit_bad_image, inputs.error());
  auto content = inputs->read();
  if (!content) return complain(exit_bad_image, content.error());
  trace::LogReader& reader = content->log;
  const trace::Namer& namer = content->namer;
  auto replay = trace::Replay::of(reader.header());
  if (!replay) return complain(exit_bad_image, replay.error());

  std::uint64_t events = 0;
  LogReader::Step step{};
  bool stopped = false;
  while (!stopped && (step = reader.next()) == LogReader::Step::event) {
    ++events;
    const trace::LogEvent& event = reader.event();
    if (const auto difference = (*replay)->step(event)) {
      fmt::print("{}\n", line_of(reader.header(), event, namer));
      return complain(exit_differs, fmt::format("event {}: {}", event.number, *difference));
    }
    stopped = stop->here(event, **replay);
    if (!stopped) continue;
    fmt::print("{}\n", line_of(reader.header(), event, namer));
    if (const auto frame = stop->frame()) fmt::print("{}\n", describe(**replay, *frame));
  }
  if (options.frame) fmt::print("{}\n", describe(**replay, Mfn(*options.frame)));
  if (stopped || !(*replay)->compared_end()) print_state(**replay);
  fmt::print("{} events, {} operations: all as recorded{}\n", events, (*replay)->operations(),
             stopped                      ? ", so far"
             : !(*replay)->compared_end() ? "; the log ends before the domain"
             : (*replay)->begun() == 1
                 ? std::string(", and so is the state at the domain's end")
                 : fmt::format(", and so is the state at the end of each of {} domains", (*replay)->begun()));
  std::fflush(stdout);
  if (stopped) return 0;
  if (const int bad = verdict_on(options.log, reader, step); bad != 0) return bad;
  if (stop->looked_for()) return complain(exit_bad_image, "what was looked for did not come");
  return 0;
}

}  // namespace pinfold::cli
