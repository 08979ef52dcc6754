// Where a page-table entry is refused, or becomes a CheckedEntry.
//
// For every present entry: which bits may be set at its level, does the frame belong to the domain, and is
// the frame what the entry makes of it? An L1 entry with RW needs the frame to be plain writable data; an
// entry of a higher level needs it to be a validated table one level down. The reference that is taken here
// is what keeps it so. Inline: every update and every validation of a table comes through here.
#pragma once

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/record_access.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

template <class Way>
[[gnu::always_inline]] inline Validator::Checked Validator::check_l1(Pte want) {
  if (want.any(l1_refused_bits)) [[unlikely]]
    return want.any(cache_bits) ? Rule::l1_cache_attributes : Rule::entry_bad_flags;

  const Mfn mfn = want.mfn();
  if (mfn.raw() >= records_.size()) [[unlikely]]
    return mfn == all_ones_frame ? Rule::l1_invalid_frame : Rule::l1_no_such_frame;

  Frame& frame = record(mfn);
  if (frame.owner_tag() != self_plus_1_) [[unlikely]]
    return Rule::l1_foreign_frame;
  if (Way::read(frame.refs) >= max_references) [[unlikely]]
    return Rule::count_overflow;

  if (want.writable()) {
    if (const FrameType type = Way::read(frame.type); type != FrameType::writable) {
      if (transition(type, Way::read(frame.type_count) != 0, FrameType::writable) == Transition::refuse)
          [[unlikely]]
        return Rule::l1_writable_map_of_table;
      Way::become_writable(frame);
    }
  }
  Way::add(frame, want.writable());
  return CheckedEntry(want, mirror_of_adjusted_leaf(want));
}

inline Verdict<CheckedEntry> Validator::check_upper(Where where, Pte want) {
  ++counters_.entries_checked;
  if (want.any(upper_refused_bits)) [[unlikely]]
    return refuse(Rule::entry_bad_flags, where, want);

  const Mfn mfn = want.mfn();
  if (!owns(mfn)) [[unlikely]]
    return refuse(Rule::upper_foreign_frame, where, want, mfn);

  if (auto taken = take_type(mfn, table_type(below(where.level)), where, want); !taken) [[unlikely]]
    return tl::unexpected(taken.error());
  return CheckedEntry(want, mirror_upper(want, mirrors_.frame(MirrorId(frames_[mfn].mirror))));
}

}  // namespace pinfold::pvmmu
