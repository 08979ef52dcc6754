// The entries that tables of the small machine may have, and what a frame may hold when it becomes a table.
#pragma once

#include <span>
#include <vector>

#include "pvmmu/pte.hpp"
#include "size.hpp"
#include "state.hpp"

namespace pinfold::pvmmu::search {

inline constexpr std::uint64_t mapped_ro = bit::present | bit::user | bit::accessed;
inline constexpr std::uint64_t mapped_rw_clean = mapped_ro | bit::writable;
inline constexpr std::uint64_t mapped_rw = mapped_rw_clean | bit::dirty;

/// A present segment descriptor of the kernel's code, which gets DPL 3, and a task gate, which no guest may
/// have (Intel SDM vol. 3, figures 5-8 and 6-2).
inline constexpr std::uint64_t code_segment = 0x00af'9b00'0000'ffffULL;
inline constexpr std::uint64_t code_segment_dpl3 = code_segment | 3ULL << 45;
inline constexpr std::uint64_t task_gate = 0x0000'8500'0000'0000ULL;

/// What one domain may write into entries, and what one of its frames may hold when it becomes a table. The
/// first entry is any; the second one is an entry that the slot may have, or one that must be refused. If the
/// first one is refused, nobody reads the second.
class Alphabet {
 public:
  Alphabet() = default;
  Alphabet(const Size& size, const State& state, std::uint8_t domain, Level level);
  /// For slot 0 or 1 of a frame that is a table.
  [[nodiscard]] std::span<const Pte> entries(std::size_t which) const { return entries_[which]; }
  /// The same, with one entry that must be refused instead of all of them.
  [[nodiscard]] std::span<const Pte> few(std::size_t which) const {
    return std::span(entries_[which]).first(acceptable_[which] + 1);
  }
  /// All contents of a frame that is to be a table.
  [[nodiscard]] std::size_t pairs() const;
  [[nodiscard]] std::array<Pte, 2> pair(std::size_t which) const;
  /// The same for a frame that becomes a table because another one names it: its second entry is empty or
  /// refused. Other contents occur if it becomes a table before it is named.
  [[nodiscard]] std::size_t nested_pairs() const { return 2 * acceptable_[0] + 1; }
  [[nodiscard]] std::array<Pte, 2> nested_pair(std::size_t which) const;

 private:
  [[nodiscard]] Pte bad() const { return entries_[0][acceptable_[0]]; }
  std::array<std::vector<Pte>, 2> entries_;
  std::array<std::size_t, 2> acceptable_{};  ///< The first ones of each.
};

}  // namespace pinfold::pvmmu::search
