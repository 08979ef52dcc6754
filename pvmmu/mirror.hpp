// The mirror: the tables that the processor walks, in frames that no guest mapping can reach.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "pvmmu/memory.hpp"
#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// A frame of the mirror arena, 1 up; 0 is none.
using MirrorId = Ordinal<struct MirrorTag, std::uint32_t>;
inline constexpr MirrorId no_mirror{0};

/// Marks the mirror of a leaf that the guest may write and the processor not yet: the first write to a clean
/// page is no fault of the guest's. For the gate, which sees mirrors only; the processor ignores the bit.
inline constexpr std::uint64_t withheld_write = 1ULL << 9;
static_assert((withheld_write & bit::available) != 0 && bit::writable << 8 == withheld_write);

/// What the processor sees of a guest's entry.
/// L1: the same frame; writable only when the guest's entry has D set as well, so that the first write to a
/// clean page faults and D can be set where the guest looks for it. Above: the child's mirror (`child`: its
/// frame number in the processor's physical space). All is open to CPL3, where both guest modes run; never
/// global.
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

/// Does an L1 entry that was read from the guest's table differ from what the mirror says was stored there?
/// Only A may differ: the processor sets it in the mirror alone. D may not, since a mirror's entry is
/// writable only when the guest's has D.
[[nodiscard]] constexpr bool leaf_differs(Pte guest, Pte mirrored) {
  const Pte stored = guest.present() ? mirror_of_adjusted_leaf(guest) : Pte();
  return ((stored.raw() ^ mirrored.raw()) & ~bit::accessed) != 0;
}
/// The same, sooner: true for entries that are dirty or read-only, and marked as accessed in both or in none.
[[nodiscard]] constexpr bool leaf_is_plain_copy(Pte guest, Pte mirrored) {
  return (guest.raw() & dirty_leaf_bits) == mirrored.raw();
}
/// Do two entries of an L1's mirror stand for different references: to another frame, or of another kind?
/// The writable kind has RW or `withheld_write`, never both.
[[nodiscard]] constexpr bool holds_otherwise(Pte mirrored, Pte now) {
  const std::uint64_t difference = mirrored.raw() ^ now.raw();
  const std::uint64_t with_withheld = difference ^ ((difference >> 8) & bit::writable);
  return (with_withheld & (bit::present | bit::writable | bit::address)) != 0;
}
/// The same above L1, where `child` is the mirror of the table that the guest's entry names.
[[nodiscard]] constexpr bool upper_differs(Pte guest, Mfn child, Pte mirrored) {
  return ((mirror_upper(guest, child).raw() ^ mirrored.raw()) & ~bit::accessed) != 0;
}

/// Entries of mirrors that a processor may have cached in a form that outlives a plain store: on a
/// shadow-paging host KVM's copy of a changed entry stays as it was. It behaves as a TLB does, only longer:
/// so the log is drained where a TLB would be flushed, at the guest's request or by the validator's own duty,
/// and when it has become long.
class StaleLog {
 public:
  /// Past this many entries it asks to be drained although nobody flushed.
  static constexpr std::size_t enough = 1024;
  struct Entry {
    MirrorId table;
    std::uint16_t slot = 0;
    bool whole_table = false;  ///< Every translation made from this mirror is stale.
    Pte before;                ///< What a processor may have cached.
  };

  /// A log that is not enabled forgets everything at once: with two-dimensional paging the processor sees the
  /// store.
  explicit StaleLog(bool enabled) : enabled_(enabled) {}

  [[nodiscard]] bool enabled() const { return enabled_; }
  void changed(MirrorId table, std::size_t slot, Pte before) {
    // An update of many entries of one table in a row is one stale table.
    if (!enabled_ || table == last_whole_table_) return;
    push(Entry{table, static_cast<std::uint16_t>(slot), false, before});
    last_whole_table_ = no_mirror;
  }
  void retired(MirrorId table) {
    if (!enabled_ || table == last_whole_table_) return;
    push(Entry{table, 0, true, Pte()});
    last_whole_table_ = table;
  }
  [[nodiscard]] bool empty() const { return used_ == 0; }
  [[nodiscard]] bool wants_draining() const { return used_ >= enough; }
  [[nodiscard]] std::span<const Entry> entries() const { return {space_.data(), used_}; }
  /// Entries are numbered from the domain's start; these are the numbers of the first one here and of the one
  /// that comes next.
  [[nodiscard]] std::uint64_t first() const { return first_; }
  [[nodiscard]] std::uint64_t end() const { return first_ + used_; }
  /// The entries numbered below `end` have been taken care of, by whichever processor. Returns how many
  /// retired mirrors are among those that this drops.
  std::size_t drop_below(std::uint64_t end);

 private:
  void push(Entry e) {
    if (used_ == room_) [[unlikely]]
      grow();
    space_[used_++] = e;
  }
  [[gnu::cold, gnu::noinline]] void grow() {
    space_.resize(std::max(enough, 2 * room_));
    room_ = space_.size();
  }

  bool enabled_;
  std::uint64_t first_ = 0;
  MirrorId last_whole_table_ = no_mirror;  ///< The newest entry's, if it is a whole table.
  std::size_t used_ = 0, room_ = 0;
  std::vector<Entry> space_;
};

/// How many mirrors a domain can need on a machine of so many frames, mirror 0 (which is none) among them.
/// Each table is a frame of the domain's own; those that are given up wait until all processors have flushed,
/// which the domain asks for once there are StaleLog::enough, after work within one budget.
[[nodiscard]] constexpr std::uint64_t most_mirrors(std::uint64_t machine_frames) {
  return machine_frames + 2 * StaleLog::enough;
}

/// The frames that mirrors live in: `pages` in the monitor's mapping, starting at frame `first` of the
/// processor's physical space, outside of what guests can own.
class MirrorArena {
 public:
  MirrorArena(Pages pages, Mfn first) : pages_(pages), first_(first) {}

  /// A free mirror for `table`, contents undefined: that of the mirror that became free last, or, when none
  /// is free, of a new one; nullopt when the arena is full.
  [[nodiscard]] std::optional<MirrorId> take(Mfn table = no_mfn);
  /// Gives a mirror up. It is not taken again before `reuse_retired`: until every processor has forgotten the
  /// translations made from it, its bytes must not turn into those of another table.
  void retire(MirrorId id);
  /// The `count` that were retired first.
  void reuse_retired(std::size_t count);
  [[nodiscard]] std::size_t retired() const { return retired_.size(); }
  /// Retired mirrors are numbered in the order in which they were; the number of the next one.
  [[nodiscard]] std::uint64_t retired_end() const { return reused_ + retired_.size(); }
  /// How many of those that were retired may be used again already.
  [[nodiscard]] std::uint64_t reused() const { return reused_; }
  /// Gives a mirror back that no entry ever named: no processor knows it.
  void give_back(MirrorId id) { free_.push_back(id); }

  /// Of the free mirrors but the `kept` that became free last, calls `let_go` for those that still have
  /// memory behind them, `most` at most. The caller may take that memory away; a mirror that is taken again
  /// has fresh memory.
  template <class LetGo>
  void let_go_of_memory(std::size_t kept, std::size_t most, LetGo&& let_go) {
    const std::size_t end = std::min(free_.size() - std::min(kept, free_.size()), dry_ + most);
    for (; dry_ < end; ++dry_) let_go(free_[dry_]);
  }
  [[nodiscard]] Mfn frame(MirrorId id) const { return first_.plus(id.raw()); }
  /// The mirror in a frame of the processor's physical space; no_mirror if none was ever taken there.
  [[nodiscard]] MirrorId at(Mfn frame) const {
    const std::uint64_t id = frame.raw() - first_.raw();
    return id < next_ ? MirrorId(static_cast<std::uint32_t>(id)) : no_mirror;
  }
  [[nodiscard]] Pte load(MirrorId id, std::size_t slot) const { return Pte(pages_.load(id.raw(), slot)); }
  /// Where mirrors lie; mirror i is page i.
  [[nodiscard]] const Pages& pages() const { return pages_; }
  void store(MirrorId id, std::size_t slot, Pte e) const { pages_.store(id.raw(), slot, e.raw()); }
  /// The table that a mirror was last taken for. It may have ended since: only its own record says so.
  [[nodiscard]] Mfn table_of(MirrorId id) const { return tables_[id.raw()]; }
  /// One past the last mirror that was ever taken.
  [[nodiscard]] MirrorId end() const { return MirrorId(next_); }
  [[nodiscard]] std::uint64_t in_use() const { return next_ - 1 - free_.size() - retired_.size(); }

 private:
  Pages pages_;
  Mfn first_;
  std::uint32_t next_ = 1;
  std::vector<Mfn> tables_{no_mfn};  ///< By mirror, for those below next_.
  std::vector<MirrorId> free_;       ///< The one that became free last is the last.
  std::size_t dry_ = 0;              ///< So many of free_, from the first, have no memory behind them.
  std::vector<MirrorId> retired_;
  std::uint64_t reused_ = 0;
};

}  // namespace pinfold::pvmmu
