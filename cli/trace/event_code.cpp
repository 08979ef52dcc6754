#include "trace/event_code.hpp"

#include <algorithm>
#include <bit>

namespace pinfold::trace {
namespace {

using pvmmu::FrameState;
using pvmmu::FrameType;
using pvmmu::Pte;
using pvmmu::Refusal;
using pvmmu::TraceEvent;
using pvmmu::TraceKind;
using pvmmu::TraceMarks;

// What follows the first byte and the mask. The first seven are what nearly all events have.
namespace field {
constexpr std::uint64_t place = 1 << 0, frame = 1 << 1, now = 1 << 2, old = 1 << 3, counts = 1 << 4,
                        cost = 1 << 5, time = 1 << 6, refusal = 1 << 7, argument = 1 << 8, count = 1 << 9,
                        root = 1 << 10, budget = 1 << 11, marks = 1 << 12;
constexpr std::uint64_t all = (1 << 13) - 1;
}  // namespace field

constexpr unsigned kind_bits = 5;
static_assert(pvmmu::trace_kinds <= 1U << kind_bits);
constexpr std::uint8_t no_state = 7;  ///< In place of a frame's type: the frame is not the domain's.
static_assert(pvmmu::frame_types == no_state);

/// The high three bits of the first byte: a level, or a type where there is no level.
bool tells_type(TraceKind kind) {
  return kind == TraceKind::hold || kind == TraceKind::protected_frame || kind == TraceKind::plain_frame;
}

// An entry with its frame number on top: what is below are 24 bits of flags, of which a guest uses few
// combinations.
constexpr unsigned flag_bits = 24;
constexpr std::uint64_t flag_mask = (1 << flag_bits) - 1;
std::uint64_t turned(Pte entry) { return std::rotl(entry.raw(), 12); }
Pte turned_back(std::uint64_t word) { return Pte(std::rotr(word, 12)); }

std::uint8_t packed(const TraceMarks& m) {
  return static_cast<std::uint8_t>(m.preserve << 0 | m.accessed_by_processor << 1 | m.flush << 2 |
                                   m.beyond_limit << 3 | m.write << 4 | m.revoke << 5 | m.continued << 6);
}
TraceMarks unpacked(std::uint8_t bits) {
  TraceMarks m;
  m.preserve = (bits & 1) != 0;
  m.accessed_by_processor = (bits & 2) != 0;
  m.flush = (bits & 4) != 0;
  m.beyond_limit = (bits & 8) != 0;
  m.write = (bits & 16) != 0;
  m.revoke = (bits & 32) != 0;
  m.continued = (bits & 64) != 0;
  return m;
}

std::uint8_t packed(const pvmmu::Frame& f) {
  const auto bit = [](bool set, unsigned at) { return static_cast<unsigned>(set) << at; };
  return static_cast<std::uint8_t>(static_cast<unsigned>(f.type) | bit(f.pinned, 3) | bit(f.validated, 4) |
                                   bit(f.partial, 5) | bit(f.allocated, 6) | bit(f.special, 7));
}

unsigned type_nibble(const std::optional<FrameState>& s) {
  return s ? static_cast<unsigned>(s->type) | (s->pinned ? 8U : 0U) : no_state;
}

// Both counts' changes in one byte where they are small.
constexpr std::uint8_t large_change = 0xff;
constexpr std::uint64_t change_bias = 7;

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
  return mask;
}

// How a frame's contents are written: runs of words.
enum class Run : std::uint8_t {
  zeros,       ///< Nothing follows.
  ascending,   ///< The first entry follows; each is the one before it with the next frame.
  repeated,    ///< The first follows; all are the same.
  descending,  ///< As ascending, with the frame before.
};
constexpr unsigned run_bits = 2;
constexpr std::uint64_t next_frame = 1ULL << flag_bits;
std::uint64_t step_of(Run run) {
  return run == Run::ascending ? next_frame : run == Run::descending ? 0 - next_frame : 0;
}

std::size_t length_of_run(std::span<const std::uint64_t> words, Run run) {
  const std::uint64_t step = step_of(run);
  std::uint64_t expected = turned(Pte(words[0]));
  std::size_t length = 0;
  while (length < words.size() && turned(Pte(words[length])) == expected) ++length, expected += step;
  return length;
}

}  // namespace

// -- coding

void EventCoder::begin_block(std::uint64_t time) {
  state_ = CodeState();
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
  if (event.slot != state_.vcpu || !state_.by_vcpu) to.varint(event.slot);
  const auto found = std::ranges::find(state_.ips, event.argument);
  if (found != state_.ips.end()) {
    to.varint(static_cast<std::uint64_t>(found - state_.ips.begin()) + 1);
  } else {
    to.varint(0);
    to.varint(zigzag(event.argument - state_.ip));
    if (state_.ips.size() < CodeState::most_ips) state_.ips.push_back(event.argument);
  }
  to.varint(event.count);
  state_.vcpu = event.slot;
  state_.ip = event.argument;
  state_.by_vcpu = true;
}

void EventCoder::append(std::vector<std::byte>& bytes, const TraceEvent& e, std::uint64_t time,
                        std::uint64_t cost) {
  ByteWriter to(bytes);
  const std::uint64_t ticks = time - std::exchange(state_.time, time);
  const unsigned high = tells_type(e.kind) ? static_cast<unsigned>(e.wanted) : e.level;
  to.byte(static_cast<std::uint8_t>(static_cast<unsigned>(e.kind) | high << kind_bits));
  if (e.kind == TraceKind::entered) {
    const bool other = e.slot != state_.vcpu || !state_.by_vcpu;
    to.varint((other ? field::place : 0) | (ticks != 0 ? field::time : 0) |
              (e.marks.continued ? field::marks : 0));
    if (ticks != 0) to.varint(ticks);
    return entered(to, e);
  }
  const std::uint64_t mask = mask_of(e, ticks, cost);
  to.varint(mask);
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
  if ((mask & field::refusal) != 0) refusal(to, *e.refusal);
  if (e.kind == TraceKind::protected_frame) contents(to, e.contents);
  if (e.kind == TraceKind::state) {
    to.varint(e.digests.size());
    for (const std::uint32_t digest : e.digests) to.fixed(digest, 4);
  }
}

// -- decoding

void EventDecoder::begin_block(std::span<const std::byte> payload, std::uint64_t time) {
  from_ = ByteReader(payload);
  state_ = CodeState();
  state_.time = time;
}

Mfn EventDecoder::frame() {
  state_.frame = Mfn(state_.frame.raw() + unzigzag(from_.varint()));
  return state_.frame;
}

Pte EventDecoder::entry() {
  const std::uint64_t index = from_.bounded(state_.flags.size());
  std::uint64_t flags = 0;
  if (index != 0) {
    flags = state_.flags[index - 1];
  } else {
    flags = from_.bounded(flag_mask);
    if (state_.flags.size() < CodeState::most_flags)
      state_.flags.push_back(static_cast<std::uint32_t>(flags));
  }
  const std::uint64_t number = frame().raw();
  if (number >> (64 - flag_bits) != 0) from_.fail();
  return turned_back(number << flag_bits | flags);
}

void EventDecoder::counts(LogEvent& event) {
  const std::uint8_t types = from_.byte();
  const auto state = [](unsigned nibble) -> std::optional<FrameState> {
    if (nibble == no_state) return std::nullopt;
    return FrameState{static_cast<FrameType>(nibble & 7), (nibble & 8) != 0, 0, 0};
  };
  if ((types & 0xf) == (no_state | 8) || types >> 4 == (no_state | 8)) return from_.fail();
  event.before = state(types & 0xf);
  event.after = state(types >> 4);
  constexpr std::uint64_t most = ~std::uint32_t{0};
  if (event.before) {
    event.before->refs = static_cast<std::uint32_t>(from_.bounded(most));
    event.before->type_count = static_cast<std::uint32_t>(from_.bounded(most));
  }
  if (!event.after) return;
  const std::uint8_t change = from_.byte();
  const bool large = change == large_change;
  const std::uint64_t refs = large ? unzigzag(from_.varint()) : (change >> 4) - change_bias;
  const std::uint64_t count = large ? unzigzag(from_.varint()) : (change & 0xf) - change_bias;
  const FrameState base = event.before.value_or(FrameState{});
  event.after->refs = static_cast<std::uint32_t>(base.refs + refs);
  event.after->type_count = static_cast<std::uint32_t>(base.type_count + count);
}

void EventDecoder::refusal(LogEvent& event) {
  Refusal r;
  r.rule = static_cast<pvmmu::Rule>(from_.byte());
  const std::uint8_t there = from_.byte();
  if (static_cast<std::size_t>(r.rule) >= pvmmu::rules.size() || there > 7) return from_.fail();
  if ((there & 1) != 0) {
    r.table = Mfn(state_.table.raw() + unzigzag(from_.varint()));
    r.slot = static_cast<std::uint16_t>(from_.bounded(pvmmu::entries_per_table - 1));
  }
  if ((there & 2) != 0) r.entry = entry();
  if ((there & 4) != 0) {
    r.frame = frame();
    r.state.owner_plus_1 = static_cast<std::uint16_t>(from_.bounded(0xffff));
    const std::uint8_t bits = from_.byte();
    if ((bits & 7) >= pvmmu::frame_types) return from_.fail();
    r.state.type = static_cast<FrameType>(bits & 7);
    r.state.pinned = (bits & 8) != 0;
    r.state.validated = (bits & 16) != 0;
    r.state.partial = (bits & 32) != 0;
    r.state.allocated = (bits & 64) != 0;
    r.state.special = (bits & 128) != 0;
    r.state.refs = static_cast<std::uint32_t>(from_.bounded(~std::uint32_t{0}));
    r.state.type_count = static_cast<std::uint32_t>(from_.bounded(~std::uint32_t{0}));
  }
  event.refusal = r;
}

void EventDecoder::entered(LogEvent& event, bool other_vcpu) {
  if (other_vcpu) state_.vcpu = static_cast<std::uint32_t>(from_.bounded(most_vcpus - 1));
  const std::uint64_t index = from_.bounded(state_.ips.size());
  if (index != 0) {
    state_.ip = state_.ips[index - 1];
  } else {
    state_.ip += unzigzag(from_.varint());
    if (state_.ips.size() < CodeState::most_ips) state_.ips.push_back(state_.ip);
  }
  state_.cause = from_.varint();
  state_.by_vcpu = true;
  event.slot = static_cast<std::uint16_t>(state_.vcpu);
  event.argument = state_.ip;
  event.count = state_.cause;
}

void EventDecoder::contents() {
  contents_.clear();
  while (contents_.size() < pvmmu::entries_per_table && !from_.failed()) {
    const std::uint64_t head = from_.varint();
    const std::uint64_t length = head >> run_bits;
    const Run run = static_cast<Run>(head & ((1U << run_bits) - 1));
    if (length == 0 || length > pvmmu::entries_per_table - contents_.size()) return from_.fail();
    std::uint64_t word = run == Run::zeros ? 0 : turned(entry());
    for (std::uint64_t i = 0; i < length; ++i, word += step_of(run))
      contents_.push_back(turned_back(word).raw());
  }
}

void EventDecoder::digests() {
  digests_.clear();
  const std::uint64_t count = from_.bounded(most_payload / 4);
  for (std::uint64_t i = 0; i < count && !from_.failed(); ++i)
    digests_.push_back(static_cast<std::uint32_t>(from_.fixed(4)));
}

bool EventDecoder::next(LogEvent& event) {
  event = LogEvent();
  const std::uint8_t first = from_.byte();
  const unsigned kind = first & ((1U << kind_bits) - 1), high = first >> kind_bits;
  if (from_.failed() || kind >= pvmmu::trace_kinds) return false;
  event.kind = static_cast<TraceKind>(kind);
  const bool type = tells_type(event.kind);
  if (high > (type ? pvmmu::frame_types - 1 : 4U)) return false;
  if (type)
    event.wanted = static_cast<FrameType>(high);
  else
    event.level = static_cast<std::uint8_t>(high);

  const std::uint64_t mask = from_.bounded(field::all);
  const auto has = [mask](std::uint64_t bit) { return (mask & bit) != 0; };
  if (has(field::time)) state_.time += from_.varint();
  event.time = state_.time;
  if (event.kind == TraceKind::entered) {
    if ((mask & ~(field::place | field::time | field::marks)) != 0) return false;
    event.marks.continued = has(field::marks);
    entered(event, has(field::place));
  } else {
    if (has(field::place)) {
      state_.table = Mfn(state_.table.raw() + unzigzag(from_.varint()));
      state_.slot = static_cast<std::uint16_t>(state_.slot + 1 + unzigzag(from_.varint()));
      if (state_.slot >= pvmmu::entries_per_table) return false;
      event.table = state_.table;
      event.slot = state_.slot;
    }
    if (has(field::now)) event.now = entry();
    if (has(field::old)) event.old = entry();
    event.frame = has(field::frame) ? frame() : named_frame(event.now, event.old);
    if (has(field::counts)) counts(event);
    if (has(field::cost)) event.cost = from_.varint();
    if (has(field::root)) {
      state_.root = Mfn(state_.root.raw() + unzigzag(from_.varint()));
      event.root = state_.root;
    }
    if (has(field::argument)) {
      std::uint64_t& last = state_.argument[kind];
      last += unzigzag(from_.varint());
      event.argument = last;
    }
    if (has(field::count)) event.count = from_.varint();
    if (has(field::budget)) state_.budget += unzigzag(from_.varint());
    if (has(field::marks)) event.marks = unpacked(from_.byte());
    event.marks.budgeted = has(field::budget);
    event.budget = event.marks.budgeted ? state_.budget : 0;
    if (has(field::refusal)) refusal(event);
    if (event.kind == TraceKind::protected_frame) {
      contents();
      event.contents = contents_;
    }
    if (event.kind == TraceKind::state) {
      digests();
      event.digests = digests_;
    }
  }
  event.vcpu = VcpuId(state_.vcpu);
  event.by_vcpu = state_.by_vcpu;
  event.ip = GuestVaddr(state_.ip);
  event.cause = state_.cause;
  return !from_.failed();
}

}  // namespace pinfold::trace
