// Linear page tables: entries that name a table of their own level, and the windows behind them.
#include <limits>

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {
namespace {

constexpr std::int16_t most_linear_uses = std::numeric_limits<std::int16_t>::max();

/// The level for which a processor takes a table here.
constexpr Level taken_for(Level level, unsigned shift) { return static_cast<Level>(number(level) - shift); }

}  // namespace

/// As Xen has it (get_l4_linear_pagetable and its likes): read-only; the table is the entry's own, or one
/// that is validated and has no such entries itself, while the entry's table is named by no such entry. So
/// tables never form a loop of references. An entry that names its own table holds no reference.
Verdict<CheckedEntry> Validator::check_linear(Where where, Pte want) {
  const Mfn mfn = want.mfn();
  const bool own = mfn == where.table;
  FrameFacts& named = mutable_facts(mfn);
  FrameFacts& table = mutable_facts(where.table);
  if (!windows_.allowed() || want.writable()) return refuse(Rule::upper_linear, where, want, mfn);
  if (!own && (!named.validated || records_.holds(mfn) >= max_references))
    return refuse(Rule::upper_linear, where, want, mfn);
  if (!own && (table.linear < 0 || named.linear > 0 || named.linear == -most_linear_uses))
    return refuse(Rule::upper_linear_chain, where, want, mfn);
  const auto window = window_of(mfn, 1);
  if (!window) return refuse(Rule::mirror_exhausted, where, want, mfn);
  if (!own) {
    ++table.linear;
    --named.linear;
    ++records_.holds(mfn);
  }
  return CheckedEntry(want, mirror_upper(want, mirrors_.frame(*window)));
}

/// Takes a linear entry's use out of the counts. False: it names its own table, and holds no reference.
bool Validator::drop_linear(Mfn table, Mfn named) {
  if (named == table) return false;
  --mutable_facts(table).linear;
  ++mutable_facts(named).linear;
  return true;
}

MirrorId Validator::behind(Level level, Mfn named, unsigned shift) const {
  if (is_linear(level, named)) ++shift;
  return shift == 0 ? MirrorId(facts(named).mirror) : windows_.find(named, shift);
}

Pte Validator::window_entry(Level level, unsigned shift, Pte guest) const {
  if (!guest.present()) return Pte();
  if (taken_for(level, shift) == Level::l1) return window_leaf(guest);
  const MirrorId child = behind(level, guest.mfn(), shift);
  return child == no_mirror ? window_to_come : window_upper(guest, mirrors_.frame(child));
}

/// The window of a validated table, or of one whose check goes on, at this shift; it is made if it is not
/// there. nullopt: the domain has as many as it may, or no mirror is left.
std::optional<MirrorId> Validator::window_of(Mfn table, unsigned shift) {
  if (const MirrorId known = windows_.find(table, shift); known != no_mirror) return known;
  if (windows_.full()) return std::nullopt;
  const auto window = take_empty_mirror(table);
  if (!window) return std::nullopt;
  windows_.add(table, shift, *window);
  budget_.spend(whole_table);
  const Level level = level_of(facts(table).type);
  const MirrorId mirror(facts(table).mirror);
  for (std::size_t line = 0; (line = mirror_pages_.next_used(mirror.raw(), line)) < entries_per_table;
       line += Pages::entries_per_line) {
    for (std::size_t slot = line; slot < line + Pages::entries_per_line; ++slot) {
      if (level == Level::l4 && is_xen_slot(slot)) continue;
      const Pte mirrored = mirrors_.load(mirror, slot);
      if (mirrored.raw() == 0) continue;  // not present, or not checked yet
      if (const auto guest = read_upper(Where{table, slot, level}, mirrored))
        mirrors_.store(*window, slot, window_entry(level, shift, *guest));
    }
  }
  return window;
}

/// The guest's entry, if it is the one that was stored; else notes a breach.
std::optional<Pte> Validator::read_upper(Where where, Pte mirrored) const {
  const Pte guest(machine_.load(where.table.raw(), where.slot));
  if (is_as_stored(where.level, guest, mirrored)) [[likely]]
    return guest;
  note_breach(where, guest, mirrored);
  return std::nullopt;
}

/// An entry of a table that may have windows was stored.
void Validator::update_windows(Where where, Pte guest) {
  for (unsigned shift = 1; shift < number(where.level); ++shift) {
    const MirrorId window = windows_.find(where.table, shift);
    if (window != no_mirror) set_window_entry(window, where.slot, window_entry(where.level, shift, guest));
  }
}

void Validator::set_window_entry(MirrorId window, std::size_t slot, Pte now) {
  const Pte before = mirrors_.load(window, slot);
  mirrors_.store(window, slot, now);
  if (narrows(before, now)) stale_.changed(window, slot, before);
}

/// The table has ended, and nothing leads to its windows any more. A processor may still know them.
void Validator::end_windows(Mfn table) {
  windows_.end_table(table, [this](MirrorId window) {
    mirrors_.retire(window);
    stale_.retired(window);
  });
}

/// One step of a walk through the guest's own tables, each entry of which is compared with its mirror.
std::optional<Validator::Step> Validator::step_down(const Step& from, GuestVaddr va) const {
  if (!owns(from.table) || !is_table(facts(from.table).type) || !facts(from.table).validated)
    return std::nullopt;
  const Level level = level_of(facts(from.table).type);
  if (number(level) <= from.shift) return std::nullopt;
  Step next = from;
  next.at = Where{from.table, slot_of(taken_for(level, from.shift), va), level};
  if (level == Level::l4 && is_xen_slot(next.at.slot)) return std::nullopt;
  const auto guest = read_upper(next.at, mirrors_.load(MirrorId(facts(from.table).mirror), next.at.slot));
  if (!guest) return std::nullopt;
  next.entry = *guest;
  if (!guest->present()) return next;
  next.executable = from.executable && !guest->any(bit::no_execute);
  next.shift = from.shift + (is_linear(level, guest->mfn()) ? 1 : 0);
  next.table = guest->mfn();
  return next;
}

/// The leaf of an address behind a linear entry; nullopt if the address is behind none, or if an entry above
/// the leaf is not present. The leaf is the entry of a table of level 2 to 4.
std::optional<Leaf> Validator::find_linear(Mfn root, GuestVaddr va) const {
  if (root == no_mfn || !is_canonical(va.raw()) || in_xen_range(va.raw())) return std::nullopt;
  Step step;
  step.table = root;
  for (Level taken = Level::l4; taken != Level::l1; taken = below(taken)) {
    const auto next = step_down(step, va);
    if (!next || !next->entry.present()) return std::nullopt;
    step = *next;
  }
  if (step.shift == 0) return std::nullopt;
  const auto leaf = step_down(step, va);
  if (!leaf) return std::nullopt;
  return Leaf{leaf->at.table, leaf->at.slot, leaf->entry, false, leaf->executable, true};
}

Filled Validator::fill_windows(Held, Mfn root, GuestVaddr va) {
  if (windows_.empty() || root == no_mfn || !is_canonical(va.raw()) || in_xen_range(va.raw()))
    return Filled::nothing;
  TracedOperation traced(*this, TraceKind::fill_windows);
  if (traced) {
    traced->root = root;
    traced->argument = va.raw();
  }
  Step step;
  step.table = root;
  Filled result = Filled::nothing;
  for (Level taken = Level::l4; taken != Level::l1; taken = below(taken)) {
    const auto next = step_down(step, va);
    if (!next || !next->entry.present()) break;
    if (next->shift != 0 && !window_of(next->table, next->shift)) {
      result = Filled::full;
      break;
    }
    if (step.shift != 0) {  // else the mirror has led to the window since it was stored
      const MirrorId window = windows_.find(step.table, step.shift);
      const Pte entry = window_entry(next->at.level, step.shift, next->entry);
      if (mirrors_.load(window, next->at.slot) != entry) {
        set_window_entry(window, next->at.slot, entry);
        result = Filled::some;
      }
    }
    step = *next;
  }
  if (traced) traced->count = static_cast<std::uint64_t>(result);
  return result;
}

}  // namespace pinfold::pvmmu
