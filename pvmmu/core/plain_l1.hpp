// Updates of L1 entries that need no judgement: they store an entry and its mirror, and change counts.
//
// The code knows neither the validator nor its locks. It is the same for a vCPU that holds the domain's lock
// alone, for several that share it, and for code that runs without an operating system. So it needs only a
// freestanding compiler, keeps no data, calls only its policies, and is inlined into its users.
//
// What the three policies offer. Each is copied, so it should be a pointer or two.
//
// Memory:
// - `Pte load(MachineAddr)` and `void store(MachineAddr, Pte)`: an entry of a guest's table.
// - `MirrorEntry mirror(const FrameFacts& table, MachineAddr)`: the entry beside it, in the mirror of the L1
//   `table`.
// - `void changed(MachineAddr, Pte before, Pte now)`: called after both were stored, with the mirror's
//   values.
//
// Records:
// - `Access`: how counts change, ExclusiveAccess or SharedAccess.
// - `uint64_t size()`: frames of the machine. `FrameFacts& facts(Mfn)` and `FrameUses& uses(Mfn)`: the record
//   of one of these.
// - `bool owns(Mfn)`: is it the domain's? Of any number.
// - `bool may_count(Mfn)`: may references to the frame be dropped here, whatever others do meanwhile?
// - `bool may_take(Pte)`: may an entry's references be added here? If not, nothing is said about the entry.
// - `void become_writable(Mfn)`: the frame, which had no type, is plain data that may be written.
// - `const FrameFacts* plain_l1(Mfn)`: of an L1 whose entries may be changed here, or null.
// - `void dropped_last(Mfn)`: called when no L1 entry refers to the frame any more.
// - `void drop_of_others(Pte)`: called with an entry that named a frame which is not the domain's: drops the
//   references that it held if the frame is borrowed, and else it was forged.
// - `void stray(Mfn)`: called when an entry named a frame to which no entry had a reference, so that it was
//   forged.
//
// Locks:
// - `auto lock(Mfn table)`: keeps others out of the entries of a table as long as the result lives. A result
//   that converts to false: they did not leave in time.
#pragma once

#include <cstddef>
#include <span>

#include "pvmmu/commit.hpp"
#include "pvmmu/core/access.hpp"
#include "pvmmu/core/entry_update.hpp"
#include "pvmmu/entry_rules.hpp"

namespace pinfold::pvmmu {

/// What came of an update. Unless it is `done`, nothing was changed.
struct L1Outcome {
  enum class Kind : std::uint8_t {
    done,
    forged,     ///< The table does not hold what was stored there.
    refused,    ///< By `rule`.
    unsettled,  ///< References of the frames can't be counted here.
  };
  Kind kind = Kind::done;
  Rule rule{};
  [[nodiscard]] constexpr bool is_done() const { return kind == Kind::done; }
};

template <class Memory, class Records, class Locks>
class PlainL1 {
 public:
  PlainL1(Memory memory, Records records, Locks locks, MmuCounters& counters)
      : memory_(memory), records_(records), locks_(locks), counters_(counters) {}

  /// The leading updates that are plain ones of L1 entries: makes them, and returns how many they are.
  [[gnu::always_inline]] std::size_t update_leading(std::span<const EntryUpdate> wanted);

  /// The entry at `where`, in the L1 `table`, becomes `want`.
  [[gnu::always_inline]] L1Outcome update(const FrameFacts& table, MachineAddr where, Pte want) {
    const Pte old = memory_.load(where);
    if (!want.present()) return clear(table, where, old, want);
    want = adjusted_l1(want);
    return only_flags_change(old, want) ? change_flags(table, where, want) : replace(table, where, old, want);
  }

  // The three kinds of update. `old` is what the guest's table holds, `want` as the guest asked for it where
  // it is cleared, and else as Xen adjusts it.
  [[gnu::always_inline]] L1Outcome clear(const FrameFacts& table, MachineAddr where, Pte old, Pte want) {
    const MirrorEntry mirror = memory_.mirror(table, where);
    const Pte mirrored = mirror.load();
    if (!leaf_is_plain_copy(old, mirrored) && leaf_differs(old, mirrored)) [[unlikely]]
      return {L1Outcome::Kind::forged};
    if (!may_drop(old)) [[unlikely]]
      return {L1Outcome::Kind::unsettled};
    commit(memory_, where, mirror, mirrored, CheckedEntry::not_present(want), counters_);
    drop(old);
    return {};
  }
  /// P is not among the flags: the old entry is present as well.
  [[nodiscard]] static constexpr bool only_flags_change(Pte old, Pte want) {
    return ((old.raw() ^ want.raw()) & ~l1_flag_bits) == 0;
  }
  [[gnu::always_inline]] L1Outcome change_flags(const FrameFacts& table, MachineAddr where, Pte want) {
    const MirrorEntry mirror = memory_.mirror(table, where);
    const Pte mirrored = mirror.load(), now = mirror_of_adjusted_leaf(want);
    if (holds_otherwise(mirrored, now)) [[unlikely]]
      return {L1Outcome::Kind::forged};
    ++counters_.entries_checked;
    commit(memory_, where, mirror, mirrored, CheckedEntry(want, now), counters_);
    return {};
  }
  [[gnu::always_inline]] L1Outcome replace(const FrameFacts& table, MachineAddr where, Pte old, Pte want) {
    const MirrorEntry mirror = memory_.mirror(table, where);
    const Pte mirrored = mirror.load();
    if (!leaf_is_plain_copy(old, mirrored) && leaf_differs(old, mirrored)) [[unlikely]]
      return {L1Outcome::Kind::forged};
    if (!may_drop(old) || !records_.may_take(want)) [[unlikely]]
      return {L1Outcome::Kind::unsettled};
    const Checked entry = check(want);
    if (!entry) [[unlikely]]
      return {L1Outcome::Kind::refused, entry.rule()};
    ++counters_.entries_checked;
    commit(memory_, where, mirror, mirrored, *entry, counters_);
    drop(old);
    return {};
  }

  /// Takes the references that an entry holds (present, and adjusted), or says by which rule it may not.
  Checked check(Pte want);

  /// Drops the references that an entry has held since it was checked. It was read from memory: if what it
  /// names is neither the domain's nor borrowed, or no entry referred to that, nothing is dropped.
  [[gnu::always_inline]] void drop(Pte old) {
    if (!old.present()) return;
    const Mfn mfn = old.mfn();
    if (!records_.owns(mfn)) [[unlikely]]
      return records_.drop_of_others(old);
    FrameUses& uses = records_.uses(mfn);
    if (const std::int32_t left = Records::Access::drop(uses, old.writable()); left <= 0) [[unlikely]] {
      if (left == 0) return records_.dropped_last(mfn);
      Records::Access::add(uses, old.writable());
      records_.stray(mfn);
    }
  }

 private:
  [[nodiscard]] bool may_drop(Pte old) const { return !old.present() || records_.may_count(old.mfn()); }

  Memory memory_;
  Records records_;
  Locks locks_;
  MmuCounters& counters_;
};

template <class Memory, class Records, class Locks>
inline std::size_t PlainL1<Memory, Records, Locks>::update_leading(std::span<const EntryUpdate> wanted) {
  std::size_t done = 0;
  while (done < wanted.size()) {
    const Mfn mfn = frame_of(wanted[done].where);
    const FrameFacts* const table = records_.plain_l1(mfn);
    if (table == nullptr) break;
    const auto locked = locks_.lock(mfn);
    if (!locked) break;
    do {
      const MachineAddr where(wanted[done].where.raw() & ~std::uint64_t{sizeof(Pte) - 1});
      if (!update(*table, where, wanted[done].want).is_done()) return done;
      ++done;
    } while (done < wanted.size() && frame_of(wanted[done].where) == mfn);
  }
  return done;
}

}  // namespace pinfold::pvmmu

#include "pvmmu/core/check_l1.hpp"
