#include "trace/replay_listener.hpp"

#include <fmt/format.h>

#include <tuple>
#include <utility>

#include "trace/text.hpp"

namespace pinfold::trace {

using pvmmu::TraceEvent;
using pvmmu::TraceKind;

bool ReplayListener::same(const std::optional<pvmmu::Refusal>& a,
                          const std::optional<pvmmu::Refusal>& b) const {
  if (a.has_value() != b.has_value()) return false;
  if (!a) return true;
  const auto owner = [this](const pvmmu::Refusal& r) {
    return r.state.owner_plus_1 != 0 && lives_(r.state.owner()) ? r.state.owner_plus_1 : 0;
  };
  const auto fields = [&](const pvmmu::Refusal& r) {
    // Not the mirror: which one a table gets is no decision of the rules.
    return std::tuple(r.rule, r.table, r.slot, r.entry.raw(), r.frame, r.state.refs, r.state.type_count,
                      owner(r), r.state.type, bool(r.state.pinned), bool(r.state.validated),
                      bool(r.state.partial), bool(r.state.allocated), bool(r.state.special));
  };
  return fields(*a) == fields(*b);
}

/// What of `found` is not as `recorded`; nullptr: nothing.
const char* ReplayListener::difference(const TraceEvent& recorded, const TraceEvent& found) const {
  if (recorded.kind != found.kind) return "another kind of event";
  if (!same(recorded.refusal, found.refusal)) return "another verdict";
  if (recorded.grant != found.grant) return "another grant";
  if (recorded.frame != found.frame) return "another frame";
  if (recorded.before != found.before) return "other counts before";
  if (recorded.after != found.after) return "other counts after";
  if (recorded.table != found.table || recorded.slot != found.slot || recorded.level != found.level)
    return "another place";
  if (recorded.old != found.old) return "another entry before";
  if (recorded.now != found.now) return "another entry asked for";
  if (recorded.wanted != found.wanted) return "another type";
  if (recorded.argument != found.argument || recorded.count != found.count || recorded.root != found.root)
    return "another number";
  if (!(recorded.marks == found.marks)) return "other marks (flush, work left)";
  return nullptr;
}

void ReplayListener::expect(const LogEvent& event) {
  expected_ = &event;
  at_ = 0;
  told_ = false;
  difference_.reset();
}

void ReplayListener::differs(std::string text) {
  if (!difference_) difference_ = std::move(text);
}

void ReplayListener::event(const TraceEvent& event) {
  if (event.kind == TraceKind::state) return;  // compared on its own
  const bool inner = is_within_operation(event.kind);
  if (inner && at_ == within.size())
    return differs(fmt::format("{} happens in it now, and did not", name(event.kind)));
  if (!inner && std::exchange(told_, true)) return;
  const TraceEvent& recorded = inner ? within[at_++].event : static_cast<const TraceEvent&>(*expected_);
  const char* what = difference(recorded, event);
  if (what == nullptr) return;
  LogEvent found(*expected_);
  static_cast<TraceEvent&>(found) = event;
  found.domain = expected_->domain;
  LogEvent was(*expected_);
  static_cast<TraceEvent&>(was) = recorded;
  differs(fmt::format("{}\n  recorded {}\n  now      {}", what, line_of(header_, was, {}),
                      line_of(header_, found, {})));
}

std::optional<std::string> ReplayListener::result() {
  if (!told_) differs("nothing is done now");
  if (at_ != within.size())
    differs(fmt::format("{} of frame {:#x} does not happen in it any more", name(within[at_].event.kind),
                        within[at_].event.frame.raw()));
  within.clear();
  return std::exchange(difference_, std::nullopt);
}

bool ReplayView::protect(Mfn mfn) {
  const ReplayListener::Within* next = listener_.next_within();
  if (next == nullptr || next->event.frame != mfn) {
    listener_.differs(fmt::format("frame {:#x} is to be checked now, and was not", mfn.raw()));
    return true;
  }
  if (next->event.kind == TraceKind::host_refused) return false;
  for (std::size_t slot = 0; slot < next->contents.size(); ++slot)
    machine_.store(mfn.raw(), slot, next->contents[slot]);
  return true;
}

bool ReplayView::revoked(Mfn mfn) const {
  const ReplayListener::Within* next = listener_.next_within();
  return next == nullptr || next->event.kind != TraceKind::host_refused || next->event.frame != mfn;
}

bool ReplayListener::host_lent() const {
  return expected_ == nullptr || !expected_->refusal ||
         expected_->refusal->rule != pvmmu::Rule::view_cannot_lend;
}

}  // namespace pinfold::trace
