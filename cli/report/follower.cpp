#include "report/follower.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::report {

using pvmmu::FrameType;
using pvmmu::Pte;
using pvmmu::TraceKind;

/// A table's entries, four bytes each: 0 for one that counts nothing, else the frame + 1, doubled, plus 1 if
/// it is writable. (A log's machine has 2^26 frames at most.)
struct FrameFollower::Table {
  FrameType type{};
  std::array<std::uint32_t, pvmmu::entries_per_table> words{};
};
static_assert(trace::most_frames < 1ULL << 30);

namespace {

std::uint32_t word_of(Pte entry, std::uint64_t frames) {
  if (!entry.present() || entry.mfn().raw() >= frames) return 0;
  return static_cast<std::uint32_t>((entry.mfn().raw() + 1) << 1 | (entry.writable() ? 1U : 0U));
}

std::uint64_t most_frames(const trace::LogHeader& header) {
  return std::max(header.most_frames, header.machine_frames);
}

Mfn frame_in(std::uint32_t word) { return Mfn((word >> 1) - 1); }

}  // namespace

FrameFollower::FrameFollower(const trace::LogHeader& header, FrameListener& listener)
    : listener_(listener),
      known_(header.machine_frames),
      owners_(most_frames(header)),
      domains_{header.domain},
      looks_(most_frames(header)),
      writable_maps_(most_frames(header)),
      table_of_(most_frames(header)) {}
FrameFollower::~FrameFollower() = default;

void FrameFollower::count(Look look, std::uint64_t sign) {
  if (pvmmu::is_protected(look.type())) counts_.tables[static_cast<std::size_t>(look.type())] += sign;
  if ((look.raw & Look::pinned) != 0) counts_.pinned += sign;
}

std::uint8_t FrameFollower::number_of(DomId domain) const {
  const auto found = std::ranges::find(domains_, domain);
  const auto number = static_cast<std::size_t>(found - domains_.begin());
  return static_cast<std::uint8_t>(std::min(number, most_domains - 1));
}

void FrameFollower::begins(DomId domain) {
  if (domains_.size() < most_domains && std::ranges::find(domains_, domain) == domains_.end())
    domains_.push_back(domain);
}

/// `look`, with the frame's owner if it has one.
Look FrameFollower::with_owner(Mfn mfn, Look look) const {
  const std::uint16_t owner = look.owned() ? owners_.get(mfn.raw()) : 0;
  look.domain = owner == 0 ? 0 : number_of(DomId(static_cast<std::uint16_t>(owner - 1)));
  return look;
}

void FrameFollower::set(Mfn mfn, Look look) {
  look = with_owner(mfn, look);
  Look& now = looks_.at(mfn.raw());
  if (now == look) return;
  count(now, ~0ULL);
  count(look, 1);
  now = look;
  listener_.looks(mfn, 1, look);
}

void FrameFollower::set_range(Mfn first, std::uint64_t frames, Look look) {
  if (!exists(first) || frames == 0) return;
  frames = std::min(frames, looks_.size() - first.raw());
  if (frames == 1) return set(first, look);
  if (!may_spend(frames)) return;
  look = with_owner(first, look);
  for (std::uint64_t i = 0; i < frames; ++i) {
    Look& now = looks_.at(first.raw() + i);
    count(now, ~0ULL);
    count(look, 1);
    now = look;
  }
  listener_.looks(first, frames, look);
}

void FrameFollower::enter(Mfn mfn, const Table& table, std::size_t slot, std::uint32_t word) {
  const Mfn frame = frame_in(word);
  if (table.type != FrameType::l1) return listener_.link(mfn, static_cast<std::uint16_t>(slot), frame, true);
  if ((word & 1) == 0) return;
  if (writable_maps_.at(frame.raw())++ == 0) ++counts_.writable;
  const Look look = looks_.get(frame.raw());
  if (look.owned() && look.type() == FrameType::none) set(frame, look.as(FrameType::writable));
}

void FrameFollower::leave(Mfn mfn, const Table& table, std::size_t slot, std::uint32_t word) {
  const Mfn frame = frame_in(word);
  if (table.type != FrameType::l1) return listener_.link(mfn, static_cast<std::uint16_t>(slot), frame, false);
  if ((word & 1) != 0 && --writable_maps_.at(frame.raw()) == 0) --counts_.writable;
}

void FrameFollower::became_table(const trace::LogEvent& event) {
  ceased(event.frame);
  set(event.frame, looks_.get(event.frame.raw()).as(event.wanted));
  if (!pvmmu::is_table(event.wanted) || event.contents.size() != pvmmu::entries_per_table) return;
  if (free_tables_.empty()) {
    if (tables_.size() == most_tables) {
      ++unfollowed_;
      return;
    }
    free_tables_.push_back(static_cast<std::uint32_t>(tables_.size()));
    tables_.push_back(std::make_unique<Table>());
  }
  const std::uint32_t index = free_tables_.back();
  free_tables_.pop_back();
  table_of_.at(event.frame.raw()) = index + 1;
  Table& table = *tables_[index];
  table.type = event.wanted;
  for (std::size_t slot = 0; slot < table.words.size(); ++slot) {
    const bool xens = table.type == FrameType::l4 && pvmmu::is_xen_slot(slot);
    table.words[slot] = xens ? 0 : word_of(Pte(event.contents[slot]), looks_.size());
    if (table.words[slot] != 0) enter(event.frame, table, slot, table.words[slot]);
  }
}

/// What the frame held as a table counts no more.
void FrameFollower::ceased(Mfn mfn) {
  std::uint32_t& index = table_of_.at(mfn.raw());
  if (index == 0) return;
  Table& table = *tables_[index - 1];
  for (std::size_t slot = 0; slot < table.words.size(); ++slot)
    if (table.words[slot] != 0) leave(mfn, table, slot, table.words[slot]);
  table.words.fill(0);
  free_tables_.push_back(index - 1);
  index = 0;
}

void FrameFollower::store(Mfn mfn, std::size_t slot, Pte entry) {
  const std::uint32_t index = exists(mfn) ? table_of_.get(mfn.raw()) : 0;
  if (index == 0 || slot >= pvmmu::entries_per_table) return;
  Table& table = *tables_[index - 1];
  const std::uint32_t word = word_of(entry, looks_.size()), was = std::exchange(table.words[slot], word);
  if (word == was || (table.type != FrameType::l1 && word >> 1 == was >> 1)) return;
  if (was != 0) leave(mfn, table, slot, was);
  if (word != 0) enter(mfn, table, slot, word);
}

/// The entry at `argument` took the place of one that a grant had made.
void FrameFollower::moved(const trace::LogEvent& event) {
  const MachineAddr from(event.argument);
  const std::size_t slot = offset_in_page(from) / sizeof(Pte);
  const std::uint32_t index = exists(frame_of(from)) ? table_of_.get(frame_of(from).raw()) : 0;
  if (index == 0) return;
  const std::uint32_t word = tables_[index - 1]->words[slot];
  const Pte entry =
      word == 0 ? Pte()
                : Pte(frame_in(word), pvmmu::bit::present | ((word & 1) != 0 ? pvmmu::bit::writable : 0));
  store(event.table, event.slot, entry);
  store(frame_of(from), slot, Pte());
}

void FrameFollower::owned_by(DomId domain, Mfn first, std::uint64_t frames) {
  if (!exists(first)) return;
  frames = std::min(frames, looks_.size() - first.raw());
  if (frames > 1 && !may_spend(frames)) return;
  for (std::uint64_t i = 0; i < frames; ++i)
    owners_.at(first.raw() + i) = static_cast<std::uint16_t>(domain.raw() + 1);
}

/// The frame's record after an operation, as the log has it, is the truth.
void FrameFollower::note_state(const trace::LogEvent& event) {
  if (!exists(event.frame)) return;
  if (!event.after) {
    if (event.before) set(event.frame, look_absent);
    return;
  }
  const bool counted = event.after->type_count != 0 || !pvmmu::is_protected(event.after->type);
  const Look look = looks_.get(event.frame.raw());
  const Look known = look.owned() ? look : Look::of(FrameType::none);
  set(event.frame, known.as(counted ? event.after->type : FrameType::none).with_pin(event.after->pinned));
}

void FrameFollower::note_owner(const pvmmu::Refusal& refusal) {
  if (!exists(refusal.frame) || refusal.state.owner_plus_1 == 0) return;
  if (!looks_.get(refusal.frame.raw()).owned()) set(refusal.frame, look_others);
}

bool FrameFollower::may_spend(std::uint64_t frames) {
  if (frames > most_range_work - range_work_) {
    ++unfollowed_;
    return false;
  }
  range_work_ += frames;
  return true;
}

void FrameFollower::all_gone(DomId domain) {
  if (!may_spend(known_)) return;
  const auto its = [&](std::uint64_t i) { return owners_.get(i) == domain.raw() + 1U; };
  for (std::uint64_t i = 0; i < known_; ++i)
    if (its(i) && table_of_.get(i) != 0) ceased(Mfn(i));
  for (std::uint64_t first = 0, i = 0; i < known_; first = ++i) {
    while (i < known_ && its(i)) ++i;
    if (i != first) gone(first, i - first);
  }
}

/// Frames that a domain had when it ended.
void FrameFollower::gone(std::uint64_t first, std::uint64_t frames) {
  for (std::uint64_t i = first; i < first + frames; ++i) {
    owners_.at(i) = 0;
    count(looks_.get(i), ~0ULL);
    looks_.at(i) = look_absent;
    if (std::exchange(writable_maps_.at(i), 0) != 0) --counts_.writable;
  }
  listener_.looks(Mfn(first), frames, look_absent);
}

void FrameFollower::operation(const trace::LogEvent& event) {
  if (event.refusal) {
    note_owner(*event.refusal);
    return note_state(event);
  }
  switch (event.kind) {
    case TraceKind::allocate:
      owned_by(event.domain, event.frame, event.count);
      set_range(event.frame, event.count, Look::of(FrameType::none));
      break;
    case TraceKind::receive: owned_by(event.domain, event.frame, 1); break;
    case TraceKind::machine_grew: known_ = std::clamp(event.count, known_, looks_.size()); break;
    case TraceKind::map_granted:
      if (event.level == 1) store(event.table, event.slot, event.now);
      break;
    case TraceKind::unmap_granted: store(event.table, event.slot, Pte()); break;
    case TraceKind::replace_granted: moved(event); break;
    case TraceKind::allocate_special:
      owned_by(event.domain, event.frame, 1);
      set_range(event.frame, 1, {Look::special, 0});
      break;
    case TraceKind::update:
    case TraceKind::update_va:
    case TraceKind::store_l1:
      if (event.level != 0) store(event.table, event.slot, event.now);
      break;
    case TraceKind::destroy: return all_gone(event.domain);
    default: break;
  }
  note_state(event);
}

void FrameFollower::event(const trace::LogEvent& event) {
  if (pvmmu::is_operation(event.kind)) return operation(event);
  if (event.kind == TraceKind::domain_begins) return begins(event.domain);
  if (!exists(event.frame)) return;
  switch (event.kind) {
    case TraceKind::protected_frame: return became_table(event);
    case TraceKind::plain_frame:
      ceased(event.frame);
      return set(event.frame, looks_.get(event.frame.raw()).as(FrameType::none));
    case TraceKind::freed_frame:
      ceased(event.frame);
      return set_range(event.frame, std::max<std::uint64_t>(event.count, 1), look_absent);
    default: return;
  }
}

}  // namespace pinfold::report
