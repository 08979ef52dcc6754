#include "trace/event_code.hpp"
#include "trace/event_layout.hpp"

namespace pinfold::trace {

using namespace event_layout;

namespace {

using pvmmu::FrameState;
using pvmmu::FrameType;
using pvmmu::Pte;
using pvmmu::Refusal;
using pvmmu::TraceKind;
using pvmmu::TraceMarks;

TraceMarks unpacked(std::uint8_t bits) {
  TraceMarks m;
  m.preserve = (bits & 1) != 0;
  m.accessed_by_processor = (bits & 2) != 0;
  m.flush = (bits & 4) != 0;
  m.beyond_limit = (bits & 8) != 0;
  m.write = (bits & 16) != 0;
  m.revoke = (bits & 32) != 0;
  m.continued = (bits & 64) != 0;
  m.cleared = (bits & 128) != 0;
  return m;
}

}  // namespace

void EventDecoder::begin_block(std::span<const std::byte> payload, std::uint64_t time, DomId domain) {
  from_ = ByteReader(payload);
  state_ = CodeState();
  state_.domain = domain;
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
  if (other_vcpu) state_.caller.vcpu = static_cast<std::uint32_t>(from_.bounded(most_vcpus - 1));
  const std::uint64_t index = from_.bounded(state_.ips.size());
  if (index != 0) {
    state_.ip = state_.ips[index - 1];
  } else {
    state_.ip += unzigzag(from_.varint());
    if (state_.ips.size() < CodeState::most_ips) state_.ips.push_back(state_.ip);
  }
  state_.caller = {state_.caller.vcpu, state_.ip, from_.varint(), true};
  event.slot = static_cast<std::uint16_t>(state_.caller.vcpu);
  event.argument = state_.caller.ip;
  event.count = state_.caller.cause;
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

void EventDecoder::grant(LogEvent& event) {
  const auto lender = static_cast<std::uint16_t>(from_.bounded(0xffff));
  event.grant =
      GrantName(DomId(lender), GrantRef(static_cast<std::uint32_t>(from_.bounded(~std::uint32_t{0}))));
}

/// What they mean, header_of_domain() says.
void EventDecoder::domain_words() {
  contents_.clear();
  for (std::size_t i = 0; i < trace::domain_words && !from_.failed(); ++i)
    contents_.push_back(from_.fixed(8));
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
  const unsigned low = first & kinds_in_first_byte, high = first >> kind_bits;
  const unsigned kind = low < kinds_in_first_byte ? low : low + from_.byte();
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
  if (has(field::domain)) state_.turn_to(DomId(static_cast<std::uint16_t>(from_.bounded(0xffff))));
  event.domain = state_.domain;
  if (has(field::time)) state_.time += from_.varint();
  event.time = state_.time;
  if (event.kind == TraceKind::entered) {
    if ((mask & ~(field::place | field::time | field::marks | field::domain)) != 0) return false;
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
    if (has(field::grant)) grant(event);
    if (has(field::refusal)) refusal(event);
    if (event.kind == TraceKind::protected_frame) {
      contents();
      event.contents = contents_;
    }
    if (event.kind == TraceKind::domain_begins) {
      domain_words();
      event.contents = contents_;
    }
    if (event.kind == TraceKind::state) {
      digests();
      event.digests = digests_;
    }
  }
  event.vcpu = VcpuId(state_.caller.vcpu);
  event.by_vcpu = state_.caller.by_vcpu;
  event.ip = GuestVaddr(state_.caller.ip);
  event.cause = state_.caller.cause;
  return !from_.failed();
}

}  // namespace pinfold::trace
