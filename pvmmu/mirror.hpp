// The mirror: the tables that the processor walks, in frames that no guest mapping can reach.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "pvmmu/memory.hpp"
#include "pvmmu/mirror_entry.hpp"
#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// A frame of the mirror arena, 1 up; 0 is none.
using MirrorId = Ordinal<struct MirrorTag, std::uint32_t>;
inline constexpr MirrorId no_mirror{0};

/// Entries of mirrors that changed, and of which KVM may still use the old value: on a host with shadow
/// paging KVM has copies of its own, which a store to the mirror does not change. Such a copy is like a TLB
/// entry that stays for long. So the log is drained where a TLB would be flushed, because the guest asks for
/// it or the validator has to, and when it has become long.
class StaleLog {
 public:
  /// With this many entries it asks to be drained although nobody flushed.
  static constexpr std::size_t enough = 1024;
  struct Entry {
    MirrorId table;
    std::uint16_t slot = 0;
    bool whole_table = false;  ///< Every translation made from this mirror is stale.
    Pte before;                ///< What a processor may have cached.
  };

  /// A log that is not enabled stays empty: with two-dimensional paging the processor sees the store.
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
  /// Entries are numbered from the domain's start. first() is the number of the first one that is still here,
  /// end() that of the next one to come.
  [[nodiscard]] std::uint64_t first() const { return first_; }
  [[nodiscard]] std::uint64_t end() const { return first_ + used_; }
  /// Drops the entries numbered below `end`, which have been taken care of. Returns how many retired mirrors
  /// are among them.
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

/// How many windows of linear page tables (linear_windows.hpp) a domain of so many frames may have. A guest
/// that manages its tables through a recursive slot has about as many windows as tables of the upper levels.
[[nodiscard]] constexpr std::uint64_t most_windows(std::uint64_t frames) { return frames / 8 + 1024; }

/// How many mirrors a domain can need on a machine of so many frames, mirror 0 (which is none) among them.
/// Each table is a frame of the domain's own; besides, there are the windows of linear page tables. Those
/// that are given up wait until all processors have flushed, which the domain asks for once there are
/// StaleLog::enough, after work within one budget: a table of an upper level may have three windows.
[[nodiscard]] constexpr std::uint64_t most_mirrors(std::uint64_t machine_frames) {
  return machine_frames + most_windows(machine_frames) + 4 * StaleLog::enough;
}

/// The frames of the mirrors: `pages` in the monitor's mapping, from frame `first` on in the processor's
/// physical space, where no guest can own a frame.
class MirrorArena {
 public:
  MirrorArena(Pages pages, Mfn first) : pages_(pages), first_(first) {}

  /// A free mirror for `table`, with undefined contents: the one that became free last or, if none is free, a
  /// new one. nullopt if the arena is full.
  [[nodiscard]] std::optional<MirrorId> take(Mfn table = no_mfn);
  /// Gives a mirror up. It is not taken again before `reuse_retired`: as long as a processor may have
  /// translations made from it, it must not become another table's mirror.
  void retire(MirrorId id);
  /// The `count` mirrors that were retired first may be used again.
  void reuse_retired(std::size_t count);
  [[nodiscard]] std::size_t retired() const { return retired_.size(); }
  /// The number that the next retired mirror gets; they are numbered in order.
  [[nodiscard]] std::uint64_t retired_end() const { return reused_ + retired_.size(); }
  /// How many retired mirrors have become free again so far.
  [[nodiscard]] std::uint64_t reused() const { return reused_; }
  /// Gives back a mirror that no entry ever named, so that no processor can know it.
  void give_back(MirrorId id) { free_.push_back(id); }

  /// Calls `let_go` for free mirrors that still have memory, but not for the `kept` that became free last,
  /// and at most `most` times. The caller may take that memory away; if such a mirror is taken again, it gets
  /// new memory.
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
  /// The table that a mirror was last taken for. That may no longer be a table: its record says whether it
  /// is.
  [[nodiscard]] Mfn table_of(MirrorId id) const { return tables_[id.raw()]; }
  /// One past the last mirror that was ever taken.
  [[nodiscard]] MirrorId end() const { return MirrorId(next_); }
  [[nodiscard]] std::uint64_t in_use() const { return next_ - 1 - free_.size() - retired_.size(); }

 private:
  Pages pages_;
  Mfn first_;
  std::uint32_t next_ = 1;
  std::vector<Mfn> tables_{no_mfn};  ///< By mirror, for those below next_.
  std::vector<MirrorId> free_;       ///< In the order in which they became free.
  std::size_t dry_ = 0;              ///< The first `dry_` of free_ have no memory.
  std::vector<MirrorId> retired_;
  std::uint64_t reused_ = 0;
};

}  // namespace pinfold::pvmmu
