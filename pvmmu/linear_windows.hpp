// Windows: what the processor walks behind an entry that names a table of its own level (linear page tables).
//
// Behind such an entry a processor takes each table for one of a level further down, and the tables of the
// last level for data. A mirror must not be walked so: the guest would read the mirrors' frame numbers. So
// each table has up to three windows besides its mirror. The window of a table of level n at shift k is what
// the processor walks where it takes the table for one of level n - k. At n - k = 1 it is a table of leaves:
// they name the frames that the table's entries name, so the guest reads its own tables there. Above, its
// entries name windows. No entry of a window is writable.
//
// docs/decisions/linear-page-tables.md says why.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

/// By how many levels a processor can take a table for less than it is: 1 to number(level) - 1.
inline constexpr unsigned most_shifts = 3;

/// In a window, in place of an entry for a window that is not there yet. A processor that comes by faults,
/// and the fault's error code has P, since reserved bits are set: bit 7 and, below L4, bits 13 to 20 (Intel
/// SDM vol. 3, 4.5.4). So the gate leaves it to the monitor. It is not accessible at CPL3 either.
inline constexpr Pte window_to_come{bit::present | bit::pat_or_large | 0x1f'e000};

/// The leaf in a window for an entry of the guest's table.
inline constexpr std::uint64_t window_leaf_bits = bit::present | bit::no_execute | nameable;
[[nodiscard]] constexpr Pte window_leaf(Pte guest) {
  return guest.present() ? Pte((guest.raw() & window_leaf_bits) | bit::user | bit::accessed) : Pte();
}
/// The entry in a window that leads to another window.
[[nodiscard]] constexpr Pte window_upper(Pte guest, Mfn child) {
  return mirror_upper(guest, child).without(bit::writable);
}

/// What Validator::fill_windows() did.
enum class Filled : std::uint8_t {
  some,
  nothing,  ///< All is there already, or the guest's own tables lead nowhere.
  full,     ///< The domain has as many windows as it may.
};

/// Which windows each table has. A window lives from its first use to the end of its table.
class LinearWindows {
 public:
  explicit LinearWindows(std::uint64_t most) : most_(most) {}

  /// Are linear page tables allowed at all?
  [[nodiscard]] bool allowed() const { return most_ != 0; }
  [[nodiscard]] bool empty() const { return windows_.empty(); }
  [[nodiscard]] bool full() const { return count_ >= most_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// no_mirror: there is none.
  [[nodiscard]] MirrorId find(Mfn table, unsigned shift) const {
    const auto found = windows_.find(table);
    return found == windows_.end() ? no_mirror : found->second[shift - 1];
  }
  void add(Mfn table, unsigned shift, MirrorId window) {
    windows_[table][shift - 1] = window;
    ++count_;
  }
  /// Calls `end` for each window of a table that has ended.
  template <class End>
  void end_table(Mfn table, End&& end) {
    const auto found = windows_.find(table);
    if (found == windows_.end()) return;
    for (const MirrorId window : found->second)
      if (window != no_mirror) --count_, end(window);
    windows_.erase(found);
  }
  /// Calls `visit(table, shift, window)` for each, in no order.
  template <class Visit>
  void each(Visit&& visit) const {
    for (const auto& [table, windows] : windows_)
      for (unsigned shift = 1; shift <= most_shifts; ++shift)
        if (windows[shift - 1] != no_mirror) visit(table, shift, windows[shift - 1]);
  }

 private:
  std::uint64_t most_;
  std::uint64_t count_ = 0;
  std::unordered_map<Mfn, std::array<MirrorId, most_shifts>> windows_;
};

}  // namespace pinfold::pvmmu
