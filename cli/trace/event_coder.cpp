#include <algorithm>

#include "trace/event_code.hpp"
#include "trace/event_layout.hpp"

namespace pinfold::trace {

using namespace event_layout;

namespace {

using pvmmu::FrameState;
using pvmmu::Pte;
using pvmmu::Refusal;
using pvmmu::TraceEvent;
using pvmmu::TraceKind;
using pvmmu::TraceMarks;

std::uint8_t packed(const TraceMarks& m) {
  return static_cast<std::uint8_t>(m.preserve << 0 | m.accessed_by_processor << 1 | m.flush << 2 |
                                   m.beyond_limit << 3 | m.write << 4 | m.revoke << 5 | m.continued << 6 |
                                   m.cleared << 7);
}
std::uint8_t packed(const pvmmu::Frame& f) {
  const auto bit = [](bool set, unsigned at) { return static_cast<unsigned>(set) << at; };
  return static_cast<std::uint8_t>(static_cast<unsigned>(f.type) | bit(f.pinned, 3) | bit(f.validated, 4) |
                                   bit(f.partial, 5) | bit(f.allocated, 6) | bit(f.special, 7));
}

unsigned type_nibble(const std::optional<FrameState>& s) {
  return s ? static_cast<unsigned>(s->type) | (s->pinned ? 8U : 0U) : no_state;
}

void counts(ByteWriter& to, const TraceEvent& event) {
  const auto& before = event.before;
  const auto& after = event.after;
  to.byte(static_cast<std::uint8_t>(type_nibble(before) | type_nibble(after) << 4));
  if (before) {
    to.varint(before->refs);
    to.varint(before->type_count);
  }
  if (!after) return;
  const std::uint64_t refs = std::uint64_t{after->refs} - (before ? before->refs : 0);
  const std::uint64_t types = std::uint64_t{after->type_count} - (before ? before->type_count : 0);
  const std::uint64_t a = refs + change_bias, b = types + change_bias;
  if (a <= 2 * change_bias && b <= 2 * change_bias) return to.byte(static_cast<std::uint8_t>(a << 4 | b));
  to.byte(large_change);
  to.varint(zigzag(refs));
  to.varint(zigzag(types));
}

std::uint64_t mask_of(const TraceEvent& e, std::uint64_t ticks, std::uint64_t cost) {
  std::uint64_t mask = 0;
  const auto has = [&mask](std::uint64_t bit, bool there) { mask |= there ? bit : 0; };
  has(field::place, e.table != no_mfn);
  has(field::frame, e.frame != named_frame(e.now, e.old));
  has(field::now, e.now != Pte());
  has(field::old, e.old != Pte());
  has(field::counts, e.before || e.after);
  has(field::cost, cost != 0);
  has(field::time, ticks != 0);
  has(field::refusal, e.refusal.has_value());
  has(field::argument, e.argument != 0);
  has(field::count, e.count != 0);
  has(field::root, e.root != no_mfn);
  has(field::budget, e.marks.budgeted);
  has(field::marks, packed(e.marks) != 0);
  has(field::grant, e.grant.has_value());
  return mask;
}

std::size_t length_of_run(std::span<const std::uint64_t> words, Run run) {
  const std::uint64_t step = step_of(run);
  std::uint64_t expected = turned(Pte(words[0]));
  std::size_t length = 0;
  while (length < words.size() && turned(Pte(words[length])) == expected) ++length, expected += step;
  return length;
}

}  // namespace

void EventCoder::begin_block(std::uint64_t time, DomId domain) {
  state_ = CodeState();
  state_.domain = domain;
  state_.time = time;
}

void EventCoder::frame(ByteWriter& to, Mfn mfn) {
  to.varint(zigzag(mfn.raw() - state_.frame.raw()));
  state_.frame = mfn;
}

void EventCoder::entry(ByteWriter& to, Pte entry) {
  const std::uint64_t word = turned(entry);
  const auto flags = static_cast<std::uint32_t>(word & flag_mask);
  const auto found = std::ranges::find(state_.flags, flags);
  if (found != state_.flags.end()) {
    to.varint(static_cast<std::uint64_t>(found - state_.flags.begin()) + 1);
  } else {
    to.varint(0);
    to.varint(flags);
    if (state_.flags.size() < CodeState::most_flags) state_.flags.push_back(flags);
  }
  frame(to, Mfn(word >> flag_bits));
}

void EventCoder::contents(ByteWriter& to, std::span<const std::uint64_t> words) {
  while (!words.empty()) {
    Run run = Run::zeros;
    std::size_t length = 0;
    if (words[0] == 0) {
      length = length_of_run(words, Run::repeated);
    } else {
      for (const Run candidate : {Run::ascending, Run::repeated, Run::descending})
        if (const std::size_t n = length_of_run(words, candidate); n > length) run = candidate, length = n;
    }
    to.varint(length << run_bits | static_cast<std::uint64_t>(run));
    if (run != Run::zeros) entry(to, Pte(words[0]));
    words = words.subspan(length);
  }
}

void EventCoder::refusal(ByteWriter& to, const Refusal& r) {
  to.byte(static_cast<std::uint8_t>(r.rule));
  const bool place = r.table != no_mfn, named = r.entry != Pte(), frame_there = r.frame != no_mfn;
  to.byte(static_cast<std::uint8_t>(place | named << 1 | frame_there << 2));
  if (place) {
    to.varint(zigzag(r.table.raw() - state_.table.raw()));
    to.varint(r.slot);
  }
  if (named) entry(to, r.entry);
  if (!frame_there) return;
  frame(to, r.frame);
  to.varint(r.state.owner_plus_1);
  to.byte(packed(r.state));
  to.varint(r.state.refs);
  to.varint(r.state.type_count);
}

void EventCoder::entered(ByteWriter& to, const TraceEvent& event) {
  const bool other = event.slot != state_.caller.vcpu || !state_.caller.by_vcpu;
  if (other) to.varint(event.slot);
  const auto found = std::ranges::find(state_.ips, event.argument);
  if (found != state_.ips.end()) {
    to.varint(static_cast<std::uint64_t>(found - state_.ips.begin()) + 1);
  } else {
    to.varint(0);
    to.varint(zigzag(event.argument - state_.ip));
    if (state_.ips.size() < CodeState::most_ips) state_.ips.push_back(event.argument);
  }
  to.varint(event.count);
  state_.ip = event.argument;
  state_.caller = {event.slot, event.argument, event.count, true};
}

void EventCoder::append(std::vector<std::byte>& bytes, const TraceEvent& e, std::uint64_t time,
                        std::uint64_t cost) {
  ByteWriter to(bytes);
  const std::uint64_t ticks = time - std::exchange(state_.time, time);
  const unsigned high = tells_type(e.kind) ? static_cast<unsigned>(e.wanted) : e.level;
  const unsigned kind = std::min<unsigned>(static_cast<unsigned>(e.kind), kinds_in_first_byte);
  to.byte(static_cast<std::uint8_t>(kind | high << kind_bits));
  if (kind == kinds_in_first_byte) to.byte(static_cast<std::uint8_t>(static_cast<unsigned>(e.kind) - kind));
  const bool turns = e.domain != state_.domain;
  state_.turn_to(e.domain);
  if (e.kind == TraceKind::entered) {
    const bool other = e.slot != state_.caller.vcpu || !state_.caller.by_vcpu;
    to.varint((other ? field::place : 0) | (ticks != 0 ? field::time : 0) |
              (e.marks.continued ? field::marks : 0) | (turns ? field::domain : 0));
    if (turns) to.varint(e.domain.raw());
    if (ticks != 0) to.varint(ticks);
    return entered(to, e);
  }
  const std::uint64_t mask = mask_of(e, ticks, cost) | (turns ? field::domain : 0);
  to.varint(mask);
  if (turns) to.varint(e.domain.raw());
  if ((mask & field::time) != 0) to.varint(ticks);
  if ((mask & field::place) != 0) {
    to.varint(zigzag(e.table.raw() - state_.table.raw()));
    to.varint(zigzag(std::uint64_t{e.slot} - state_.slot - 1));
    state_.table = e.table;
    state_.slot = e.slot;
  }
  if ((mask & field::now) != 0) entry(to, e.now);
  if ((mask & field::old) != 0) entry(to, e.old);
  if ((mask & field::frame) != 0) frame(to, e.frame);
  if ((mask & field::counts) != 0) counts(to, e);
  if ((mask & field::cost) != 0) to.varint(cost);
  if ((mask & field::root) != 0) to.varint(zigzag(e.root.raw() - std::exchange(state_.root, e.root).raw()));
  if ((mask & field::argument) != 0) {
    std::uint64_t& last = state_.argument[static_cast<std::size_t>(e.kind)];
    to.varint(zigzag(e.argument - std::exchange(last, e.argument)));
  }
  if ((mask & field::count) != 0) to.varint(e.count);
  if ((mask & field::budget) != 0) to.varint(zigzag(e.budget - std::exchange(state_.budget, e.budget)));
  if ((mask & field::marks) != 0) to.byte(packed(e.marks));
  if ((mask & field::grant) != 0) {
    to.varint(e.grant->lender.raw());
    to.varint(e.grant->ref.raw());
  }
  if ((mask & field::refusal) != 0) refusal(to, *e.refusal);
  if (e.kind == TraceKind::protected_frame) contents(to, e.contents);
  if (e.kind == TraceKind::domain_begins)
    for (const std::uint64_t word : e.contents) to.fixed(word, 8);
  if (e.kind == TraceKind::state) {
    to.varint(e.digests.size());
    for (const std::uint32_t digest : e.digests) to.fixed(digest, 4);
  }
}

}  // namespace pinfold::trace
