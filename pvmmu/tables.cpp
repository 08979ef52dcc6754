// How a frame's contents are checked when it becomes a table or a descriptor page, and how a table's
// references are dropped when it ends.
//
// An L1 and a descriptor page are done as a whole. Work on a table of an upper level stops between two
// entries when the budget is used up: then its first entries hold references and the others do not. Its check
// goes on when the table is asked for again; its release goes on before any operation that needs a table.
//
// Most entries of most tables are not present: lines of such entries are skipped.
#include <algorithm>

#include "pvmmu/commit.hpp"
#include "pvmmu/descriptor.hpp"
#include "pvmmu/entry_check.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator_l1.hpp"

namespace pinfold::pvmmu {

tl::unexpected<Refusal> Validator::unfinished() {
  Refusal refusal;
  refusal.rule = Rule::unfinished;
  return tl::unexpected(refusal);
}

std::size_t Validator::entries_held(Mfn table) const {
  if (!is_table(facts(table).type)) return 0;
  if (facts(table).validated) return entries_per_table;
  return unfinished_.entries_held(table);
}

/// An empty mirror for a table that is about to be checked.
std::optional<MirrorId> Validator::take_empty_mirror(Mfn table) {
  const auto taken = mirrors_.take(table);
  if (taken) mirror_pages_.clear(taken->raw());
  return taken;
}

Verdict<> Validator::validate_l1(Mfn mfn) {
  const auto taken = take_empty_mirror(mfn);
  if (!taken) {
    become_plain(mfn);
    return refuse(Rule::mirror_exhausted, mfn);
  }
  const MirrorId mirror = *taken;
  const Pages machine = machine_, mirrors = mirror_pages_;
  budget_.spend(whole_table);
  for (std::size_t line = 0; (line = machine.next_used(mfn.raw(), line)) < entries_per_table;
       line += Pages::entries_per_line) {
    for (std::size_t slot = line; slot < line + Pages::entries_per_line; ++slot) {
      const Pte found(machine.load(mfn.raw(), slot));
      if (!found.present()) continue;
      const Pte want = adjusted_l1(found);
      ++counters_.entries_checked;
      const Checked entry = exclusive_l1().check(want);
      if (!entry) [[unlikely]] {
        const auto refusal = refuse(entry.rule(), Where{mfn, slot}, want, want.mfn());
        drop_l1_entries(mfn, mirror, slot);
        mirrors_.give_back(mirror);
        become_plain(mfn);
        return refusal;
      }
      commit_in_new_table(machine, mfn, mirrors, mirror, slot, *entry);
    }
  }
  FrameFacts& frame = mutable_facts(mfn);
  frame.mirror = mirror.raw();
  frame.validated = true;
  ++counters_.tables_validated;
  return {};
}

Verdict<> Validator::validate_descriptors(Mfn mfn) {
  budget_.spend(whole_table);
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    const std::uint64_t found = machine_.load(mfn.raw(), slot);
    const auto fixed = checked_descriptor(found);
    if (!fixed) {
      const auto refusal = refuse(fixed.error(), Where{mfn, slot}, Pte(found), mfn);
      become_plain(mfn);
      return refusal;
    }
    machine_.store(mfn.raw(), slot, *fixed);
  }
  mutable_facts(mfn).validated = true;
  return {};
}

/// Checks a present entry of an upper table in place, takes its reference and makes the mirror's entry.
Verdict<> Validator::validate_upper_entry(Where where, Pte found, MirrorId mirror) {
  const auto entry = check_upper(where, adjusted_upper(where.level, found));
  if (!entry) [[unlikely]]
    return tl::unexpected(entry.error());
  commit_in_new_table(machine_, where.table, mirror_pages_, mirror, where.slot, *entry);
  if (!windows_.empty()) [[unlikely]]
    update_windows(where, entry->guest());
  return {};
}

/// The next slot of an upper table to look at, from the beginning of a line. The monitor's own slots of an L4
/// are never skipped.
std::size_t Validator::next_used(Mfn table, Level level, std::size_t slot) const {
  const std::size_t next = machine_.next_used(table.raw(), slot);
  return level == Level::l4 && slot < first_xen_slot ? std::min(next, first_xen_slot) : next;
}

/// Begins a table's check or goes on with it. The table has one type reference: it belongs to the caller if
/// this succeeds, and to the table itself if the check is unfinished or refused.
Verdict<> Validator::validate_upper(Mfn mfn, Level level) {
  FrameFacts& frame = mutable_facts(mfn);
  std::size_t slot = 0;
  if (frame.partial) {
    slot = unfinished_.resume(mfn);
    frame.partial = false;
  } else if (const auto mirror = take_empty_mirror(mfn)) {
    frame.mirror = mirror->raw();
  } else {
    become_plain(mfn);
    return refuse(Rule::mirror_exhausted, mfn);
  }
  const MirrorId mirror(frame.mirror);
  const Pages machine = machine_;
  for (std::size_t looked_at = 0; slot < entries_per_table; slot += looked_at) {
    if (budget_.used_up()) return interrupt(mfn, slot);
    looked_at = 1;
    if (level == Level::l4 && is_xen_slot(slot)) {
      mirrors_.store(mirror, slot, l4_xen_slots_[slot - first_xen_slot]);
    } else if (const Pte found(machine.load(mfn.raw(), slot)); found.present()) {
      if (auto valid = validate_upper_entry(Where{mfn, slot, level}, found, mirror); !valid) [[unlikely]] {
        if (valid.error().rule == Rule::unfinished) return interrupt(mfn, slot);
        give_up(mfn, slot);
        return valid;
      }
    } else if (slot % Pages::entries_per_line == 0) {
      looked_at = std::clamp<std::size_t>(next_used(mfn, level, slot) - slot, 1, budget_.left());
    }
    budget_.spend(looked_at);
  }
  frame.validated = true;
  ++counters_.tables_validated;
  return {};
}

/// Interrupts the check of a table whose first `slot` entries are checked.
Verdict<> Validator::interrupt(Mfn mfn, std::size_t slot) {
  unfinished_.interrupt(mfn, slot);
  mutable_facts(mfn).partial = true;
  return unfinished();
}

/// Releases a table whose check was refused or given up; no processor has seen its mirror.
void Validator::give_up(Mfn mfn, std::size_t end) { release_entries(mfn, end, false); }

/// The table of this mirror has ended. If a processor may know the mirror, it is not reused before a flush.
void Validator::end_mirror(MirrorId mirror, bool was_seen) {
  if (!was_seen) return mirrors_.give_back(mirror);
  mirrors_.retire(mirror);
  stale_.retired(mirror);
  ++counters_.tables_released;
}

/// Ends an L1: copies the accessed bits to the guest's entries, and drops the references of all entries.
void Validator::devalidate_l1(Mfn mfn) {
  const MirrorId mirror(std::exchange(mutable_facts(mfn).mirror, 0));
  end_mirror(mirror, true);
  const Pages machine = machine_, mirrors = mirror_pages_;
  for (std::size_t line = 0; (line = mirrors.next_used(mirror.raw(), line)) < entries_per_table;
       line += Pages::entries_per_line) {
    for (std::size_t slot = line; slot < line + Pages::entries_per_line; ++slot) {
      const Pte guest(machine.load(mfn.raw(), slot));
      const Pte mirrored(mirrors.load(mirror.raw(), slot));
      if (leaf_is_plain_copy(guest, mirrored) || end_marked_leaf(Where{mfn, slot}, guest, mirrored))
        exclusive_l1().drop(guest);
    }
  }
  budget_.spend(whole_table);
}

/// Handles an entry of an ending table that differs from the mirror's in some bit. False: it is not what was
/// stored.
bool Validator::end_marked_leaf(Where where, Pte guest, Pte mirrored) {
  if (leaf_differs(guest, mirrored)) [[unlikely]] {
    note_breach(where, guest, mirrored);
    return false;
  }
  if (mirrored.any(bit::accessed) && !guest.any(bit::accessed))
    machine_.store(where.table.raw(), where.slot, guest.with(bit::accessed).raw());
  return true;
}

/// The same for a table whose check failed at slot `end`.
void Validator::drop_l1_entries(Mfn mfn, MirrorId mirror, std::size_t end) {
  for (std::size_t slot = 0; slot < end; ++slot) {
    const Pte guest(machine_.load(mfn.raw(), slot));
    if (end_marked_leaf(Where{mfn, slot}, guest, mirrors_.load(mirror, slot))) exclusive_l1().drop(guest);
  }
}

/// Begins to release a table: its first `end` entries still hold references, and it holds one of itself.
void Validator::release_entries(Mfn mfn, std::size_t end, bool was_seen) {
  FrameFacts& frame = mutable_facts(mfn);
  frame.validated = false;
  frame.partial = true;
  unfinished_.begin_release({mfn, end, MirrorId(std::exchange(frame.mirror, 0)), was_seen});
}

bool Validator::continue_releases() {
  TracedOperation traced(*this, TraceKind::finish_releases);
  const bool finished = work_off_releases();
  if (traced) traced->marks.continued = !finished;
  return finished;
}

/// Works on the innermost table first: dropping an entry may begin the release of the table that it names.
bool Validator::work_off_releases() {
  while (unfinished_.has_releases()) {
    UnfinishedTables::Release& last = unfinished_.innermost_release();
    const Mfn table = last.table;
    if (last.end == 0) {
      end_mirror(last.mirror, last.was_seen);
      end_windows(table);
      unfinished_.end_innermost_release();
      become_plain(table);
    } else if (budget_.used_up()) {
      return false;
    } else {
      drop_entries(last);
    }
  }
  return true;
}

/// Drops entries of a table from its end on, until the budget is used up, or the table that an entry names
/// has to be released first: then `release` is gone, and it goes on later behind that entry.
void Validator::drop_entries(UnfinishedTables::Release& release) {
  const Mfn table = release.table;
  const MirrorId mirror = release.mirror;
  const Level level = level_of(facts(table).type);
  const Pages machine = machine_, mirrors = mirror_pages_;
  const std::size_t before = unfinished_.releases();
  std::size_t end = release.end;
  while (end != 0 && !budget_.used_up()) {
    if (const std::size_t unused = end - mirrors.last_used(mirror.raw(), end); unused != 0) {
      const std::size_t looked_at = std::min(unused, budget_.left());
      budget_.spend(looked_at);
      end -= looked_at;
      continue;
    }
    budget_.spend(1);
    const std::size_t slot = --end;
    if (level == Level::l4 && is_xen_slot(slot)) continue;
    const Pte guest(machine.load(table.raw(), slot));
    const Pte mirrored(mirrors.load(mirror.raw(), slot));
    if (!guest.present() && mirrored.raw() == 0) continue;
    release.end = end;
    if (!is_as_stored(level, guest, mirrored)) [[unlikely]]
      note_breach(Where{table, slot, level}, guest, mirrored);
    else
      drop_upper_entry(table, level, guest);
    if (unfinished_.releases() != before) return;
  }
  release.end = end;
}

void Validator::stale_entries_settled(Held, std::uint64_t end) {
  const std::uint64_t before = mirrors_.reused();
  mirrors_.reuse_retired(stale_.drop_below(end));
  trace_forgotten_mirrors(before);
}

void Validator::retired_mirrors_forgotten(Held, std::uint64_t end) {
  const std::uint64_t before = mirrors_.reused();
  if (end > before) mirrors_.reuse_retired(end - before);
  trace_forgotten_mirrors(before);
}

}  // namespace pinfold::pvmmu
