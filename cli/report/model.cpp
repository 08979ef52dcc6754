#include "report/model.hpp"

#include <algorithm>
#include <unordered_map>

#include "report/histogram.hpp"
#include "report/history.hpp"
#include "report/timeline.hpp"

namespace pinfold::report {
namespace {

constexpr std::uint64_t most_events = 0xffff'ffff;  ///< In the picture; event numbers take 32 bits.

/// Entries that name tables, each while it does.
class Links {
 public:
  explicit Links(std::size_t most) : most_(most) {}

  void note(std::uint32_t event, Mfn parent, std::uint16_t slot, Mfn child, bool linked) {
    const std::uint64_t key = parent.raw() << 16 | slot;
    if (!linked) {
      const auto open = open_.find(key);
      if (open == open_.end()) return;
      links_[open->second].to = event;
      open_.erase(open);
    } else if (links_.size() == most_) {
      ++left_out;
    } else {
      open_[key] = links_.size();
      links_.push_back({static_cast<std::uint32_t>(parent.raw()), static_cast<std::uint32_t>(child.raw()),
                        slot, event, event});
    }
  }
  /// Those that are still there end with the log.
  std::vector<Link> result(std::uint32_t end) {
    for (const auto& [key, index] : open_) links_[index].to = end;
    std::erase_if(links_, [](const Link& link) { return link.from == link.to; });
    std::ranges::sort(links_, {}, [](const Link& l) { return std::tuple(l.parent, l.slot, l.from); });
    return std::move(links_);
  }
  std::uint64_t left_out = 0;

 private:
  std::size_t most_;
  std::vector<Link> links_;
  std::unordered_map<std::uint64_t, std::size_t> open_;
};

class Collector final : public FrameListener {
 public:
  Collector(const trace::LogHeader& header, const Limits& limits)
      : limits_(limits),
        histories_(limits.raw_changes),
        links_(limits.links),
        refused_(limits.buckets),
        loans_(limits.loans),
        follower_(header, *this) {
    model_.header = header;
    model_.domains.push_back({header.domain, 0, header.vcpus, 0, std::nullopt});
    model_.listed_of_a_rule = limits.of_a_rule;
  }

  void event(const trace::LogEvent& event) {
    model_.events = event.number + 1;
    model_.end_time = std::max(model_.end_time, event.time + event.cost);
    follow_domains(event);
    if (event.number >= most_events) return;
    now_ = static_cast<std::uint32_t>(event.number);
    timeline_.note(now_, event.time);
    if (event.refusal && event.refusal->rule != pvmmu::Rule::unfinished) refusal(event);
    follower_.event(event);
    loans_.event(event, now_);
  }
  void follow_domains(const trace::LogEvent& event) {
    std::uint64_t& frames = model_.header.machine_frames;
    const auto has = [&](std::uint64_t count) {
      frames = std::clamp(count, frames, std::max(frames, model_.header.most_frames));
    };
    if (event.kind == pvmmu::TraceKind::machine_grew) has(event.count);
    if (event.kind == pvmmu::TraceKind::domain_begins) {
      ++living_;
      const auto header = trace::header_of_domain(model_.header, event.domain, event.contents);
      if (header) has(header->machine_frames);
      begins(event, header ? header->vcpus : 0);
    }
    if (event.kind == pvmmu::TraceKind::destroy) {
      --living_;
      const auto life = std::ranges::find_if(
          model_.domains, [&](const DomainLife& d) { return d.id == event.domain && !d.to; });
      if (life != model_.domains.end()) life->to = event.number;
    }
    model_.closed = event.kind == pvmmu::TraceKind::destroy && living_ <= 0;
  }
  void begins(const trace::LogEvent& event, std::uint32_t vcpus) {
    if (model_.domains.size() == limits_.domains) {
      ++model_.domains_left_out;
      return;
    }
    model_.domains.push_back({event.domain, 0, vcpus, event.number, std::nullopt});
  }
  void looks(Mfn first, std::uint64_t count, Look look) override {
    histories_.note(now_, first, count, look);
  }
  void link(Mfn parent, std::uint16_t slot, Mfn child, bool linked) override {
    links_.note(now_, parent, slot, child, linked);
  }

  Model result() {
    model_.shown = std::min(model_.events, most_events);
    Histories::Result histories = histories_.result(limits_.changes);
    model_.runs = std::move(histories.runs);
    model_.resolution = histories.resolution;
    model_.links = links_.result(static_cast<std::uint32_t>(model_.shown));
    model_.links_left_out = links_.left_out;
    model_.loans = loans_.result(static_cast<std::uint32_t>(model_.shown));
    for (DomainLife& domain : model_.domains) domain.number = follower_.number_of(domain.id);
    model_.times = timeline_.points(limits_.time_points);
    model_.bucket = refused_.bucket();
    model_.refusals_in = refused_.counts();
    model_.unfollowed = follower_.unfollowed() + histories_.left_out();
    return std::move(model_);
  }

 private:
  void refusal(const trace::LogEvent& event) {
    refused_.note(now_);
    if (++model_.by_rule[event.refusal->rule] > limits_.of_a_rule) return;
    model_.refusals.push_back(event);
    model_.refusals.back().contents = {};
    model_.refusals.back().digests = {};
  }

  Limits limits_;
  Model model_;
  Histories histories_;
  Links links_;
  Timeline timeline_;
  Histogram refused_;
  Loans loans_;
  FrameFollower follower_;
  std::uint32_t now_ = 0;
  std::int64_t living_ = 1;  ///< Domains.
};

}  // namespace

Model make_model(trace::LogReader& log, const Limits& limits) {
  Collector collector(log.header(), limits);
  trace::LogReader::Step step;
  while ((step = log.next()) == trace::LogReader::Step::event) collector.event(log.event());
  Model model = collector.result();
  if (step != trace::LogReader::Step::end) model.trouble = log.error().describe();
  return model;
}

}  // namespace pinfold::report
