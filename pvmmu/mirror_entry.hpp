// Which entry of a mirror belongs to which entry of a guest's table, and what a difference between them
// means.
#pragma once

#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// Marks the mirror of a leaf that the guest may write, but whose page is clean: the first write must fault,
/// so that D can be set, and the guest must not see that fault. The gate, which sees only mirrors, needs the
/// mark; the processor ignores it.
inline constexpr std::uint64_t withheld_write = 1ULL << 9;
static_assert((withheld_write & bit::available) != 0 && bit::writable << 8 == withheld_write);

/// The mirror's entry for a guest's entry. For an L1 it names the same frame, and is writable only if the
/// guest's entry has D set as well: so the first write to a clean page faults, and D can be set where the
/// guest looks for it. Above L1 it names the child's mirror (`child`: its frame number in the processor's
/// physical space). Every entry is accessible at CPL3, where both guest modes run, and none is global.
inline constexpr std::uint64_t nameable = bit::address & (address_of(first_monitor_frame).raw() - 1);
inline constexpr std::uint64_t clean_leaf_bits =
    bit::present | bit::user | bit::accessed | bit::no_execute | nameable;
inline constexpr std::uint64_t dirty_leaf_bits = clean_leaf_bits | bit::dirty | bit::writable;
[[nodiscard]] constexpr Pte mirror_of_adjusted_leaf(Pte guest) {  // present, and U is set
  if (guest.any(bit::dirty)) [[likely]]
    return Pte(guest.raw() & dirty_leaf_bits);
  return Pte((guest.raw() & clean_leaf_bits) | (guest.raw() & bit::writable) << 8);
}
[[nodiscard]] constexpr Pte mirror_leaf(Pte guest) {
  return guest.present() ? mirror_of_adjusted_leaf(guest.with(bit::user)) : Pte();
}
[[nodiscard]] constexpr Pte mirror_upper(Pte guest, Mfn child) {
  if (!guest.present()) return Pte();
  constexpr std::uint64_t kept = bit::present | bit::writable | bit::no_execute;
  return Pte(child, (guest.raw() & kept) | bit::user | bit::accessed);
}

/// Does an L1 entry that was read from the guest's table differ from what was stored there, as the mirror
/// shows it? Only A may differ, since the processor sets it in the mirror alone. D may not: a mirror's entry
/// is writable only if the guest's entry has D.
[[nodiscard]] constexpr bool leaf_differs(Pte guest, Pte mirrored) {
  const Pte stored = guest.present() ? mirror_of_adjusted_leaf(guest) : Pte();
  return ((stored.raw() ^ mirrored.raw()) & ~bit::accessed) != 0;
}
/// A quick test that most unchanged entries pass: those that are dirty or read-only, with A in both or in
/// neither.
[[nodiscard]] constexpr bool leaf_is_plain_copy(Pte guest, Pte mirrored) {
  return (guest.raw() & dirty_leaf_bits) == mirrored.raw();
}
/// Do two entries of an L1's mirror stand for different references: to another frame, or of another kind? An
/// entry that holds a writable reference has either RW or `withheld_write`.
[[nodiscard]] constexpr bool holds_otherwise(Pte mirrored, Pte now) {
  const std::uint64_t difference = mirrored.raw() ^ now.raw();
  const std::uint64_t with_withheld = difference ^ ((difference >> 8) & bit::writable);
  return (with_withheld & (bit::present | bit::writable | bit::address)) != 0;
}
/// leaf_differs() for an entry above L1, where `child` is the mirror of the table that the guest's entry
/// names.
[[nodiscard]] constexpr bool upper_differs(Pte guest, Mfn child, Pte mirrored) {
  return ((mirror_upper(guest, child).raw() ^ mirrored.raw()) & ~bit::accessed) != 0;
}

}  // namespace pinfold::pvmmu
