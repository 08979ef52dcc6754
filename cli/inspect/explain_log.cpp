#include "cli/inspect/explain_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>

#include "cli/control/frame_report.hpp"
#include "cli/inspect/explain.hpp"
#include "cli/logs/log_inputs.hpp"
#include "trace/replay.hpp"

namespace pinfold::cli {
namespace {

using pvmmu::OutsideUser;
using pvmmu::TraceKind;
using trace::LogEvent;
using trace::LogReader;

constexpr std::size_t most_refusals_told = 3;

bool is_refused(const LogEvent& e) { return e.refusal && e.refusal->rule != pvmmu::Rule::unfinished; }

/// The references that are held outside of tables. A log has the vCPU that made the request, but not the
/// register that holds the reference.
class Holders {
 public:
  void hear(const LogEvent& e) {
    if (e.refusal) return;
    switch (e.kind) {
      case TraceKind::load_root:
        if (e.frame == e.root) return;
        remove(e.root, As::root, e.vcpu);
        return add(e.frame, OutsideUser::Kind::root, e.vcpu);
      case TraceKind::unload_root: return remove(e.root, As::root, e.vcpu);
      case TraceKind::hold: return add(e.frame, kind_of(e.wanted), e.vcpu);
      case TraceKind::hold_readable: return add(e.frame, OutsideUser::Kind::reader, e.vcpu);
      case TraceKind::release: return remove(e.frame, As::data, e.vcpu);
      case TraceKind::release_readable: return remove(e.frame, As::reader, e.vcpu);
      default: return;
    }
  }
  [[nodiscard]] std::vector<OutsideUser> all() const {
    std::vector<OutsideUser> users;
    for (const auto& [key, user] : users_) users.push_back(user);
    return users;
  }

 private:
  enum class As : std::uint8_t { root, data, reader };
  using Key = std::tuple<Mfn, As, VcpuId>;
  static As as(OutsideUser::Kind kind) {
    return kind == OutsideUser::Kind::root     ? As::root
           : kind == OutsideUser::Kind::reader ? As::reader
                                               : As::data;
  }
  static OutsideUser::Kind kind_of(pvmmu::FrameType type) {
    return type == pvmmu::FrameType::seg_desc ? OutsideUser::Kind::descriptors : OutsideUser::Kind::shared;
  }
  void add(Mfn frame, OutsideUser::Kind kind, VcpuId vcpu) {
    if (frame != no_mfn) users_.emplace(Key(frame, as(kind), vcpu), OutsideUser{frame, kind, vcpu});
  }
  /// The vCPU's own rather than another's.
  void remove(Mfn frame, As use, VcpuId vcpu) {
    auto found = users_.lower_bound(Key(frame, use, vcpu));
    const auto fits = [&] {
      return found != users_.end() && std::get<Mfn>(found->first) == frame &&
             std::get<As>(found->first) == use;
    };
    if (!fits() || found->second.vcpu != vcpu) found = users_.lower_bound(Key(frame, use, VcpuId(0)));
    if (fits()) users_.erase(found);
  }

  /// By key: a log may hold as many as it has events.
  std::multimap<Key, OutsideUser> users_;
};

/// The refusals that name a frame: as what stood in the way, or as the table.
class Refusals {
 public:
  explicit Refusals(std::optional<Mfn> frame) : frame_(frame) {}
  void hear(const LogEvent& e, const std::function<std::string()>& line) {
    if (!frame_ || !is_refused(e)) return;
    if (e.frame != *frame_ && e.refusal->frame != *frame_ && e.refusal->table != *frame_) return;
    ++total_;
    ++by_rule_[std::string(info(e.refusal->rule).name)];
    last_.push_back(line());
    if (last_.size() > most_refusals_told) last_.pop_front();
  }
  [[nodiscard]] Json json() const { return {{"total", total_}, {"by_rule", by_rule_}, {"last", last_}}; }

 private:
  std::optional<Mfn> frame_;
  std::uint64_t total_ = 0;
  std::map<std::string, std::uint64_t> by_rule_;
  std::deque<std::string> last_;
};

/// A log lived again up to a moment.
struct Moment {
  std::unique_ptr<trace::Replay> replay;
  Holders holders;
  LogEvent event;    ///< The last one.
  std::string line;  ///< In words.
  std::string note;  ///< Why it is the last one, if the log is not whole.
  bool any = false;
};

tl::expected<Moment, std::string> moment_of(const LogQuestion& question, Refusals& refusals) {
  auto inputs = LogInputs::open(question.log, question.system_map);
  if (!inputs) return tl::unexpected(inputs.error());
  auto content = inputs->read();
  if (!content) return tl::unexpected(content.error());
  trace::LogReader& reader = content->log;
  const trace::Namer& namer = content->namer;
  const auto failed = [&](const std::string& why) {
    return tl::unexpected(fmt::format("{}: {}", question.log.string(), why));
  };
  auto replay = trace::Replay::of(reader.header());
  if (!replay) return failed(replay.error());

  Moment moment{std::move(*replay), {}, {}, {}, {}};
  LogReader::Step step{};
  while ((step = reader.next()) == LogReader::Step::event) {
    const LogEvent& event = reader.event();
    // After the domain's end no frame has an owner. Stop before it, unless the question is about that event.
    if (event.kind == TraceKind::destroy && !question.at && moment.replay->living() == 1) return moment;
    if (const auto difference = moment.replay->step(event))
      return failed(fmt::format("event {} goes another way now: {}", event.number, *difference));
    moment.holders.hear(event);
    refusals.hear(event, [&] { return line_of(reader.header(), event, namer); });
    moment.any = true;
    moment.event = event;
    moment.event.contents = {};
    moment.event.digests = {};
    if (event.number != question.at) continue;
    moment.line = line_of(reader.header(), event, namer);
    return moment;
  }
  if (question.at)
    return failed(fmt::format(
        "there is no event {}; {}", *question.at,
        moment.any ? fmt::format("the last is {}", moment.event.number) : "there is none at all"));
  if (step != LogReader::Step::end) moment.note = reader.error().describe();
  return moment;
}

}  // namespace

tl::expected<Json, std::string> explain_in_log(const LogQuestion& question) {
  Refusals refusals(question.frame);
  const auto moment = moment_of(question, refusals);
  if (!moment) return tl::unexpected(moment.error());
  const LogEvent& event = moment->event;

  Json answer{{"event", moment->any ? Json(event.number) : Json()},
              {"line", moment->line.empty() ? Json() : Json(moment->line)},
              {"refused", nullptr},
              {"frame", nullptr},
              {"refusals", nullptr},
              {"note", moment->note.empty() ? Json() : Json(moment->note)}};
  Mfn frame = no_mfn;
  if (question.frame)
    frame = *question.frame;
  else
    frame = event.refusal && event.refusal->frame != no_mfn ? event.refusal->frame : event.frame;
  const trace::ReplayedDomain& domain = moment->replay->domain_of(frame);
  const pvmmu::Validator& mmu = domain.mmu();
  if (question.frame) {
    answer["refusals"] = refusals.json();
    if (!mmu.contains(frame))
      return tl::unexpected(fmt::format("the machine has no frame {:#x}; its last is {:#x}", frame.raw(),
                                        mmu.machine_frames() - 1));
    if (question.as_table && (!mmu.owns(frame) || mmu.frame(frame).mirror == 0))
      return tl::unexpected(fmt::format("frame {:#x} is not a page table then", frame.raw()));
  } else {
    if (is_refused(event)) answer["refused"] = explain_rule(event.refusal->rule);
    if (!mmu.contains(frame)) return answer;
  }
  const auto report =
      FrameReport::of(domain.held(), mmu, moment->replay->m2p(), frame, moment->holders.all(), [] {});
  answer["frame"] = explain_frame(report.json());
  return answer;
}

std::string log_explanation_text(const Json& e) {
  std::string out;
  if (!e.at("note").is_null())
    out +=
        fmt::format("the log is not whole: {}; this is how it was then\n", e.at("note").get<std::string>());
  if (!e.at("line").is_null()) out += e.at("line").get<std::string>() + "\n";
  if (!e.at("refused").is_null()) out += rule_text(e.at("refused"));
  if (e.at("frame").is_null()) return out;
  out += frame_explanation_text(e.at("frame"));
  if (e.at("refusals").is_null()) return out;
  const Json& refusals = e.at("refusals");
  if (refusals.at("total") == 0) return out + "no refusal until then has to do with it\n";
  out += "refusals until then that have to do with it\n";
  for (const auto& [rule, count] : refusals.at("by_rule").items())
    out += fmt::format("  {} x{}\n", rule, count.get<std::uint64_t>());
  out += "the last of these\n";
  for (const Json& line : refusals.at("last")) out += "  " + line.get<std::string>() + "\n";
  return out;
}

}  // namespace pinfold::cli
