// How much work may be done at a stretch, and what each kind of it counts as.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// Counted in entries looked at: of an upper-level table one by one, of an L1 or a descriptor page all at
/// once, which are done whole. Other work counts as entries that take as long (`cost`). What is begun while
/// anything is left is done, so a budget of 1 gets on, too.
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

/// What work other than looking at entries counts as, in entries (docs/decisions/work-at-a-stretch.md has the
/// measurements). Whoever does the work spends for it, however a guest reached it.
namespace cost {
inline constexpr std::uint64_t call = 64;  ///< A hypercall within a multicall, besides what it does.
inline constexpr std::uint64_t request =
    16;                                    ///< A request of a list, besides the tables that it makes or ends.
inline constexpr std::uint64_t page = 16;  ///< Clearing or copying a page.
inline constexpr std::uint64_t view = 256;  ///< A change of the domain's view, by the host's kernel.
inline constexpr std::uint64_t ring = 256;  ///< A ring of a device's, looked at for what the guest put there.
}  // namespace cost

}  // namespace pinfold::pvmmu
