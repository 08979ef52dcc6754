// Taking and dropping type references; what happens when a frame becomes a table and when it stops being one.
#include "pvmmu/descriptor.hpp"
#include "pvmmu/entry_check.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Verdict<> Validator::hold(Held, Mfn mfn, FrameType type) {
  if (auto owned = check_owned(mfn); !owned) return owned;
  return take_type(mfn, type, Where{}, Pte());
}

void Validator::release(Held, Mfn mfn) { drop_type(mfn); }

/// One type reference and the general one that comes with it. The frame is known to be the domain's.
Verdict<> Validator::take_type(Mfn mfn, FrameType type, Where where, Pte want) {
  Frame& frame = frames_[mfn];
  if (frame.refs >= max_references) return refuse(Rule::count_overflow, where, want, mfn);
  switch (transition(frame, type)) {
    case Transition::refuse: {
      const bool linear =
          where.table != no_mfn && is_table(frame.type) && level_of(frame.type) == where.level;
      const Rule rule = where.table == no_mfn ? Rule::frame_wrong_type
                        : linear              ? Rule::upper_linear
                                              : Rule::upper_wrong_type;
      return refuse(rule, where, want, mfn);
    }
    case Transition::share: break;
    case Transition::retype:
      if (auto done = become(mfn, type); !done) return done;
      break;
  }
  // A table that is being validated further up the call stack is counted but not usable yet: only a loop of
  // tables can come here, and a loop needs a table that is its own descendant.
  if (is_table(type) && !frame.validated) return refuse(Rule::upper_linear, where, want, mfn);
  ++frame.type_count;
  ++frame.refs;
  return {};
}

/// Makes an uncounted frame one of `type`. On success the count is still 0: the caller takes the first
/// reference.
Verdict<> Validator::become(Mfn mfn, FrameType type) {
  Frame& frame = frames_[mfn];
  if (!is_protected(type)) {
    frame.type = type;
    return {};
  }
  if (frame.special) return refuse(Rule::frame_special, mfn);
  // Read-only in the view first: from here to the end of the check no processor can change what is checked,
  // and the host has dropped every writable translation of the frame that a processor had cached.
  if (!view_.protect(mfn)) return refuse(Rule::view_cannot_protect, mfn);
  frame.type = type;
  frame.type_count = 1;  // held by the validation itself, so that a table that names itself finds it taken
  const Verdict<> valid = is_table(type) ? validate_table(mfn, level_of(type)) : validate_descriptors(mfn);
  frame.type_count = 0;
  if (!valid) {
    frame.type = FrameType::none;
    view_.unprotect(mfn);
    return valid;
  }
  frame.validated = true;
  return {};
}

Verdict<> Validator::validate_l1(Mfn mfn, MirrorId mirror) {
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    const Pte found(machine_.load(mfn.raw(), slot));
    if (!found.present()) {
      mirrors_.store(mirror, slot, Pte());
      continue;
    }
    const Checked entry = check_l1(adjusted_l1(found));
    if (!entry) [[unlikely]] {
      drop_entries(mfn, Level::l1, slot);
      return refuse(entry.rule(), Where{mfn, slot}, found, found.mfn());
    }
    machine_.store(mfn.raw(), slot, (*entry).guest().raw());
    mirrors_.store(mirror, slot, (*entry).mirror());
  }
  return {};
}

Verdict<> Validator::validate_upper(Mfn mfn, Level level, MirrorId mirror) {
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    if (level == Level::l4 && is_xen_slot(slot)) {
      mirrors_.store(mirror, slot, l4_xen_slots_[slot - first_xen_slot]);
      continue;
    }
    const Pte found(machine_.load(mfn.raw(), slot));
    if (!found.present()) {
      mirrors_.store(mirror, slot, Pte());
      continue;
    }
    const auto entry = check_upper(Where{mfn, slot, level}, adjusted_upper(level, found));
    if (!entry) {
      drop_entries(mfn, level, slot);
      return tl::unexpected(entry.error());
    }
    machine_.store(mfn.raw(), slot, entry->guest().raw());
    mirrors_.store(mirror, slot, entry->mirror());
  }
  return {};
}

Verdict<> Validator::validate_table(Mfn mfn, Level level) {
  const auto mirror = mirrors_.take();
  if (!mirror) return refuse(Rule::mirror_exhausted, mfn);
  const Verdict<> valid =
      level == Level::l1 ? validate_l1(mfn, *mirror) : validate_upper(mfn, level, *mirror);
  if (!valid) {
    mirrors_.give_back(*mirror);
    return valid;
  }
  frames_[mfn].mirror = mirror->raw();
  ++counters_.tables_validated;
  return {};
}

Verdict<> Validator::validate_descriptors(Mfn mfn) {
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    const auto fixed = checked_descriptor(machine_.load(mfn.raw(), slot));
    if (!fixed) return refuse(fixed.error(), Where{mfn, slot}, Pte(machine_.load(mfn.raw(), slot)), mfn);
    machine_.store(mfn.raw(), slot, *fixed);
  }
  return {};
}

/// Drops one type reference and its general one.
void Validator::drop_type(Mfn mfn) {
  Frame& frame = frames_[mfn];
  if (--frame.type_count == 0 && is_protected(frame.type)) {
    if (is_table(frame.type)) devalidate_table(mfn);
    frame.type = FrameType::none;
    frame.validated = false;
    view_.unprotect(mfn);
  }
  drop_reference(mfn);
}

void Validator::devalidate_table(Mfn mfn) {
  Frame& frame = frames_[mfn];
  const MirrorId mirror(frame.mirror);
  const Level level = level_of(frame.type);
  frame.mirror = 0;
  mirrors_.retire(mirror);
  stale_.retired(mirror);
  ++counters_.tables_released;
  if (level != Level::l1) return drop_entries(mfn, level, entries_per_table);
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    const Pte guest(machine_.load(mfn.raw(), slot));
    const std::uint64_t accessed = mirrors_.load(mirror, slot).raw() & bit::accessed & ~guest.raw();
    if (accessed != 0) machine_.store(mfn.raw(), slot, guest.with(accessed).raw());
    drop_l1_entry(guest);
  }
}

/// Drops what the first `end` entries of a table hold.
void Validator::drop_entries(Mfn mfn, Level level, std::size_t end) {
  for (std::size_t slot = 0; slot < end; ++slot) {
    if (level == Level::l4 && is_xen_slot(slot)) continue;
    drop_entry(level, Pte(machine_.load(mfn.raw(), slot)));
  }
}

/// Drops the references that an entry held since it was checked.
void Validator::drop_entry(Level level, Pte old) {
  if (!old.present()) return;
  const Mfn mfn = old.mfn();
  if (level != Level::l1) {
    drop_type(mfn);
    return;
  }
  if (old.writable()) --frames_[mfn].type_count;
  drop_reference(mfn);
}

void Validator::drop_reference(Mfn mfn) {
  if (--frames_[mfn].refs == 0) [[unlikely]]
    free_frame(mfn);
}

}  // namespace pinfold::pvmmu
