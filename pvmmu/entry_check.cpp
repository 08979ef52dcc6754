// Where a page-table entry is refused, or becomes a CheckedEntry.
//
// For every present entry: which bits may be set at its level, does the frame belong to the domain, and is
// the frame what the entry makes of it? An L1 entry with RW needs the frame to be plain writable data; an
// entry of a higher level needs it to be a validated table one level down. The reference that is taken here
// is what keeps it so.
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Verdict<CheckedEntry> Validator::check_l1(const Where& where, Pte want) {
  ++counters_.entries_checked;
  if (want.any(l1_refused_bits)) [[unlikely]]
    return refuse(want.any(cache_bits) ? Rule::l1_cache_attributes : Rule::entry_bad_flags, where, want);

  const Mfn mfn = want.mfn();
  if (!frames_.contains(mfn)) [[unlikely]]
    return refuse(mfn == all_ones_frame ? Rule::l1_invalid_frame : Rule::l1_no_such_frame, where, want);

  Frame& frame = frames_[mfn];
  if (frame.owner_tag() != self_plus_1_) [[unlikely]]
    return refuse(Rule::l1_foreign_frame, where, want, mfn);
  if (frame.refs >= max_references) [[unlikely]]
    return refuse(Rule::count_overflow, where, want, mfn);

  if (want.writable()) {
    switch (transition(frame, FrameType::writable)) {
      case Transition::refuse: return refuse(Rule::l1_writable_map_of_table, where, want, mfn);
      case Transition::retype: frame.type = FrameType::writable; [[fallthrough]];
      case Transition::share: ++frame.type_count;
    }
  }
  ++frame.refs;
  return CheckedEntry(want, mirror_leaf(want));
}

Verdict<CheckedEntry> Validator::check_upper(const Where& where, Pte want) {
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

tl::unexpected<Refusal> Validator::refuse(Rule rule, const Where& where, Pte want, Mfn frame) {
  ++counters_.entries_refused;
  Refusal refusal{rule, where.table, static_cast<std::uint16_t>(where.slot), want, frame, Frame{}};
  if (frames_.contains(frame)) refusal.state = frames_.as_seen_by(self_plus_1_, frame);
  return tl::unexpected(refusal);
}

tl::unexpected<Refusal> Validator::refuse(Rule rule, Mfn frame) {
  return refuse(rule, Where{}, Pte(), frame);
}

}  // namespace pinfold::pvmmu
