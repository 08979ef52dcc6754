// Where an entry of an L2, L3 or L4 is refused, or becomes a CheckedEntry (core/check_l1.hpp has the L1's).
//
// For every present entry: which bits may be set, does the frame belong to the domain, and is the frame a
// validated table one level down (or, see linear.cpp, one of its own level)? The reference that is taken here
// is what keeps it so. Inline: every update and every validation of a table comes through here.
#pragma once

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

inline Verdict<CheckedEntry> Validator::check_upper(Where where, Pte want) {
  ++counters_.entries_checked;
  if (want.any(upper_refused_bits)) [[unlikely]]
    return refuse(Rule::entry_bad_flags, where, want);

  const Mfn mfn = want.mfn();
  if (!owns(mfn)) [[unlikely]]
    return refuse(Rule::upper_foreign_frame, where, want, mfn);

  if (is_linear(where.level, mfn)) [[unlikely]]
    return check_linear(where, want);
  if (auto taken = take_type(mfn, table_type(below(where.level)), where, want); !taken) [[unlikely]]
    return tl::unexpected(taken.error());
  return CheckedEntry(want, mirror_upper(want, mirrors_.frame(MirrorId(facts(mfn).mirror))));
}

}  // namespace pinfold::pvmmu
