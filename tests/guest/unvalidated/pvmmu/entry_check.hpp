// TEST ONLY. Stands in for pvmmu/entry_check.hpp: the validator with its central check gone, so that a test
// can attack the walls behind it. An L1 entry may name any frame, of the machine or not, and map it writable,
// whoever owns it and whatever it is. With PINFOLD_TEST_VIEW_GIVES_WAY a table that is mapped writable is so
// in the view, too; with PINFOLD_TEST_MIRROR_GIVES_WAY a mirror's leaf can name a mirror. Linked into
// pinfold_unvalidated, pinfold_mirror_only and pinfold_view_only; nothing of this is in pinfold.
#pragma once

#include <cstdio>

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/record_access.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

inline const bool unvalidated_announced = [] {
  std::fputs(
      "pinfold_unvalidated: THE VALIDATOR IS SWITCHED OFF; this program is for tests of the other walls\n",
      stderr);
  return true;
}();

#ifdef PINFOLD_TEST_MIRROR_GIVES_WAY
inline constexpr bool mirror_gives_way = true;
#else
inline constexpr bool mirror_gives_way = false;
#endif

template <class Way>
Validator::Checked Validator::check_l1(Pte want) {
  const Mfn mfn = want.mfn();
  // Past the machine's end there is nothing to count. The guest's entry says nothing, the processor's does.
  if (!frames_.contains(mfn))
    return CheckedEntry(Pte(), mirror_gives_way ? Pte(mfn, mirror_leaf(want).flags()) : mirror_leaf(want));
  Frame& frame = frames_[mfn];
  if (owns(mfn) && want.writable() && transition(frame, FrameType::writable) == Transition::retype)
    frame.type = FrameType::writable;
  // Counted whatever it is, so that dropping the entry finds what it takes back.
  if (want.writable()) ++frame.type_count;
#ifdef PINFOLD_TEST_VIEW_GIVES_WAY
  if (owns(mfn) && want.writable() && is_protected(frame.type)) view_.unprotect(mfn);
#endif
  frame.refs += owns(mfn) ? 1 : 2;
  return CheckedEntry(want, mirror_leaf(want));
}

// As in the product: the mirror has no way to name what is no table.
inline Verdict<CheckedEntry> Validator::check_upper(Where where, Pte want) {
  if (want.any(upper_refused_bits)) return refuse(Rule::entry_bad_flags, where, want);
  const Mfn mfn = want.mfn();
  if (!owns(mfn)) return refuse(Rule::upper_foreign_frame, where, want, mfn);
  if (auto taken = take_type(mfn, table_type(below(where.level)), where, want); !taken)
    return tl::unexpected(taken.error());
  return CheckedEntry(want, mirror_upper(want, mirrors_.frame(MirrorId(frames_[mfn].mirror))));
}

}  // namespace pinfold::pvmmu
