// How much work may be done at a stretch, and how much each kind of work counts.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// Counted in table entries. Those of upper-level tables count one by one; an L1 or a descriptor page, which
/// is done as a whole, counts all its entries at once. Other work counts as many entries as take the same
/// time (`cost`). Work that is begun while anything is left is finished, so even a budget of 1 makes
/// progress.
class Budget {
 public:
  explicit constexpr Budget(std::uint64_t entries) : left_(entries) {}
  [[nodiscard]] static constexpr Budget unlimited() { return Budget(~0ULL); }
  [[nodiscard]] constexpr bool used_up() const { return left_ == 0; }
  [[nodiscard]] constexpr std::uint64_t left() const { return left_; }
  constexpr void spend(std::uint64_t entries) { left_ -= std::min(left_, entries); }

 private:
  std::uint64_t left_;
};

inline constexpr std::uint64_t whole_table = entries_per_table;

/// How many entries other work counts (docs/decisions/work-at-a-stretch.md has the measurements). The code
/// that does the work spends for it, whichever way the guest took to ask for it.
namespace cost {
inline constexpr std::uint64_t call = 64;     ///< A hypercall within a multicall, besides its own work.
inline constexpr std::uint64_t request = 16;  ///< A request of a list, besides tables that it makes or ends.
inline constexpr std::uint64_t page = 16;     ///< Clearing or copying a page.
inline constexpr std::uint64_t view = 256;    ///< A change of the domain's view, by the host's kernel.
inline constexpr std::uint64_t ring = 256;    ///< Looking into a device's ring for the guest's requests.
}  // namespace cost

}  // namespace pinfold::pvmmu
