// How much page-table work may be done at a stretch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// Counted in entries looked at: of an upper-level table one by one, of an L1 or a descriptor page all at
/// once, which are done whole. What is begun while anything is left is done, so a budget of 1 gets on, too.
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

}  // namespace pinfold::pvmmu
