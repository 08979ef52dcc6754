// Which bits a guest may set in an entry of each level, which changes need no new references, and what Xen
// adds.
#pragma once

#include "pvmmu/frame.hpp"
#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

inline constexpr std::uint64_t cache_bits = bit::write_through | bit::cache_disable | bit::pat_or_large;
/// L1: no memory type but write-back for a domain without I/O resources.
inline constexpr std::uint64_t l1_refused_bits = cache_bits;
/// L2 to L4: no memory types, no superpages, no global bit.
inline constexpr std::uint64_t upper_refused_bits = cache_bits | bit::global;

/// If a new entry differs from the present one only in these bits, it keeps the old references: the bits do
/// not change which frame is named, or whether it is written through this entry. RW is one of them only above
/// L1, and there not in an entry that names a table of its own level (Validator::only_flags_change). P, PSE
/// and the address never are (XSA-148, XSA-182).
inline constexpr std::uint64_t l1_flag_bits = bit::no_execute | bit::available_high | bit::available |
                                              bit::global | bit::dirty | bit::accessed | bit::user;
inline constexpr std::uint64_t upper_flag_bits = bit::no_execute | bit::available_high | bit::available |
                                                 bit::dirty | bit::accessed | bit::user | bit::writable;

inline constexpr Mfn all_ones_frame{bit::address >> page_shift};

/// What Xen makes of an accepted entry, as a guest sees that reads it back. Every page is accessible at CPL3.
/// An entry whose U was clear keeps a mark of that, even if the guest reads it and writes it back; every
/// other page is global.
[[nodiscard]] constexpr Pte adjusted_l1(Pte e) {
  if (!e.present()) return e;
  if (!e.any(bit::user)) [[unlikely]]
    return e.with(bit::user | bit::guest_kernel);
  return e.any(bit::guest_kernel) ? e : e.with(bit::global);
}
[[nodiscard]] constexpr Pte adjusted_upper(Level level, Pte e) {
  if (!e.present()) return e;
  return e.with(level == Level::l4 ? bit::user | bit::accessed : bit::user);
}

/// Does the new mirror entry allow less than the old one, or something else? Only then can a cached copy of
/// the old one do harm; if it allows less than the new one, the processor faults and walks again.
[[nodiscard]] constexpr bool narrows(Pte old, Pte now) {
  // What the old entry allowed: to be used, to be written, to be executed.
  constexpr std::uint64_t permissions = bit::present | bit::writable | bit::no_execute;
  const std::uint64_t allowed = (old.raw() ^ bit::no_execute) & permissions;
  return old.present() && ((old.raw() ^ now.raw()) & (allowed | bit::address)) != 0;
}

}  // namespace pinfold::pvmmu
