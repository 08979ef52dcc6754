// Which of a few locks guards the entries of a table.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// The number of one of `locks` locks, a power of two. Tables lie side by side, or at equal distances: the
/// product's upper bits differ all the same.
template <std::size_t locks>
[[nodiscard]] constexpr std::size_t lock_of_table(Mfn table) {
  static_assert(std::has_single_bit(locks) && locks > 1);
  constexpr std::uint64_t golden_ratio = 0x9e37'79b9'7f4a'7c15;  // of 2^64; Knuth vol. 3, 6.4
  return table.raw() * golden_ratio >> (64 - std::countr_zero(locks));
}

}  // namespace pinfold::pvmmu
