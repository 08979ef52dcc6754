// Taking and dropping type references: the only place where a frame gets a type and loses it. The exception
// is `writable`, for L1 entries: core/check_l1.hpp takes it, core/plain_l1.hpp drops it.
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Verdict<> Validator::hold(Held, Mfn mfn, FrameType type) {
  TracedOperation traced(*this, TraceKind::hold, mfn);
  if (traced) traced->wanted = type;
  return traced.run([&] {
    if (!is_table(type)) return take_owned(mfn, type);
    return after_releases([&] { return take_owned(mfn, type); });
  });
}

void Validator::release(Held, Mfn mfn) {
  const TracedOperation traced(*this, TraceKind::release, mfn);
  drop_type(mfn);
  (void)releases_finished();
}

Verdict<> Validator::take_owned(Mfn mfn, FrameType type) {
  if (auto owned = check_owned(mfn); !owned) return owned;
  return take_type(mfn, type, Where{}, Pte());
}

/// Takes one type reference and the general one that comes with it. The frame is known to be the domain's.
Verdict<> Validator::take_type(Mfn mfn, FrameType type, Where where, Pte want) {
  const FrameFacts& frame = facts(mfn);
  std::uint32_t& holds = records_.holds(mfn);
  if (holds >= max_references) return refuse(Rule::count_overflow, where, want, mfn);
  switch (records_.transition(mfn, type)) {
    case Transition::refuse: {
      const bool linear =
          where.table != no_mfn && is_table(frame.type) && level_of(frame.type) == where.level;
      const Rule rule = where.table == no_mfn ? Rule::frame_wrong_type
                        : linear              ? Rule::upper_linear
                                              : Rule::upper_wrong_type;
      return refuse(rule, where, want, mfn);
    }
    case Transition::share: break;
    case Transition::retype: return become(mfn, type);
  }
  if (frame.partial && frame.mirror != 0) return validate_upper(mfn, level_of(type));
  // This table is being validated further up the call stack: it is counted, but not usable yet. So the tables
  // form a loop, in which a table is its own descendant.
  if (is_table(type) && !frame.validated) return refuse(Rule::upper_linear, where, want, mfn);
  ++holds;
  return {};
}

/// Gives an uncounted frame a type, with a first reference for the caller. The reference is taken before the
/// contents are checked, so that a table that names itself is found to be one.
Verdict<> Validator::become(Mfn mfn, FrameType type) {
  FrameFacts& frame = mutable_facts(mfn);
  if (is_protected(type)) {
    if (frame.special) return refuse(Rule::frame_special, mfn);
    if (is_table(type) && budget_.used_up()) return unfinished();
    // The frame becomes read-only in the view before it is checked: from here on no processor can change its
    // contents, and the host has dropped every writable translation of it that a processor had cached.
    if (!protect_as(mfn, type)) {
      if (trace_ != nullptr) trace_host_refusal(mfn, false);
      return refuse(Rule::view_cannot_protect, mfn);
    }
    if (trace_ != nullptr) trace_frame_change(TraceKind::protected_frame, mfn, type);
  }
  frame.type = type;
  frame.linear = 0;
  ++records_.holds(mfn);
  switch (type) {
    case FrameType::l1: return validate_l1(mfn);
    case FrameType::l2:
    case FrameType::l3:
    case FrameType::l4: return validate_upper(mfn, level_of(type));
    case FrameType::seg_desc: return validate_descriptors(mfn);
    case FrameType::none:
    case FrameType::writable: break;
  }
  return {};
}

/// Takes the guest's way to store into a frame that gets a protected type. The way of the code at CPL0 is for
/// L1 tables only: it is closed for all other types. Where it is open already it stays so, since a frame that
/// was an L1 soon becomes one again. False: the host refused, and nothing was changed.
bool Validator::protect_as(Mfn mfn, FrameType type) {
  FrameFacts& frame = mutable_facts(mfn);
  if (!view_.protect(mfn)) return false;
  if (type == FrameType::l1) {
    if (!frame.window) frame.window = view_.open_window(mfn);
    return true;
  }
  if (frame.window && !view_.close_window(mfn)) {
    view_.unprotect(mfn);
    return false;
  }
  frame.window = false;
  return true;
}

/// Drops one type reference and its general one. An upper table keeps its last one until its entries are
/// released.
void Validator::drop_type(Mfn mfn) {
  std::uint32_t& holds = records_.holds(mfn);
  if (const FrameType type = facts(mfn).type; holds == 1 && is_protected(type)) {
    if (is_table(type) && type != FrameType::l1) return release_entries(mfn, entries_per_table, true);
    if (type == FrameType::l1) devalidate_l1(mfn);
    return become_plain(mfn);
  }
  if (--holds == 0) free_if_unreferenced(mfn);
}

/// Drops the last type reference of a protected frame whose entries hold no references any more, and its
/// general one.
void Validator::become_plain(Mfn mfn) {
  FrameFacts& frame = mutable_facts(mfn);
  if (frame.type == FrameType::seg_desc) budget_.spend(cost::view);
  if (trace_ != nullptr) trace_frame_change(TraceKind::plain_frame, mfn, frame.type);
  records_.holds(mfn) = 0;
  frame.type = records_.plain_type();
  frame.validated = frame.partial = false;
  view_.unprotect(mfn);
  free_if_unreferenced(mfn);
}

/// Drops the reference that an entry of an upper level held since it was checked.
void Validator::drop_upper_entry(Mfn table, Level level, Pte old) {
  if (!old.present()) return;
  if (is_linear(level, old.mfn()) && !drop_linear(table, old.mfn())) return;
  drop_type(old.mfn());
}

}  // namespace pinfold::pvmmu
