// How the validator uses core/plain_l1.hpp: the policies for a domain's frames in the monitor.
#pragma once

#include <mutex>
#include <optional>

#include "pvmmu/core/plain_l1.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

struct Validator::L1Memory {
  Validator& mmu;
  [[nodiscard]] Pte load(MachineAddr where) const {
    return Pte(mmu.machine_.at(where.raw()).load(std::memory_order_relaxed));
  }
  void store(MachineAddr where, Pte entry) const {
    mmu.machine_.at(where.raw()).store(entry.raw(), std::memory_order_relaxed);
  }
  [[nodiscard]] MirrorEntry mirror(const FrameFacts& table, MachineAddr where) const {
    return mmu.mirror_entry(table, where);
  }
  [[gnu::always_inline]] void changed(MachineAddr where, Pte before, Pte now) const {
    if (mmu.logs_stale_) [[unlikely]]
      mmu.log_stale(where, before, now);
  }
};

template <class AccessOfIt>
struct Validator::L1Records {
  using Access = AccessOfIt;
  Validator& mmu;
  [[nodiscard]] std::uint64_t size() const { return mmu.records_.size(); }
  [[nodiscard]] FrameFacts& facts(Mfn mfn) const { return mmu.records_.facts(mfn); }
  [[nodiscard]] FrameUses& uses(Mfn mfn) const { return mmu.records_.uses(mfn); }
  [[nodiscard]] bool owns(Mfn mfn) const { return mmu.owns(mfn); }
  [[nodiscard]] bool may_count(Mfn mfn) const {
    if constexpr (std::is_same_v<Access, SharedAccess>)
      return mmu.stays(mfn);
    else
      return true;
  }
  [[nodiscard]] bool may_take(Pte want) const { return may_count(want.mfn()); }
  void become_writable(Mfn mfn) const { Access::become_writable(mmu.records_.facts(mfn)); }
  [[nodiscard]] const FrameFacts* plain_l1(Mfn mfn) const {
    return mmu.stays_l1(mfn) ? &mmu.facts(mfn) : nullptr;
  }
  /// A frame that may_count() while others share the lock is in the reservation.
  void dropped_last(Mfn mfn) const {
    if constexpr (!std::is_same_v<Access, SharedAccess>) mmu.free_if_unreferenced(mfn);
  }
  /// While others share the lock, entries of borrowed frames stay (may_count()).
  void drop_of_others(Pte old) const {
    if constexpr (std::is_same_v<Access, SharedAccess>)
      stray(old.mfn());
    else
      mmu.drop_of_others(old);
  }
  void stray(Mfn mfn) const {
    if constexpr (std::is_same_v<Access, SharedAccess>) {
      const std::lock_guard among_others(mmu.concurrent_locks_.of_first_breach());
      mmu.note_stray(mfn);
    } else {
      mmu.note_stray(mfn);
    }
  }
};

/// Whoever holds the domain's lock alone finds no one else in a table.
struct Validator::NoTableLocks {
  [[nodiscard]] bool lock(Mfn) const { return true; }
};

struct Validator::TableLocks {
  Validator& mmu;
  struct Locked {
    explicit Locked(ShortLock& lock) : lock_(lock) {}
    explicit operator bool() const { return true; }

   private:
    std::lock_guard<ShortLock> lock_;
  };
  [[nodiscard]] Locked lock(Mfn table) const { return Locked(mmu.concurrent_locks_.of_table(table)); }
};

[[gnu::always_inline]] inline Validator::ExclusiveL1 Validator::exclusive_l1() {
  return {L1Memory{*this}, L1Records<ExclusiveAccess>{*this}, NoTableLocks{}, counters_};
}

[[gnu::always_inline]] inline Validator::SharedL1 Validator::shared_l1(MmuCounters& counters) {
  return {L1Memory{*this}, L1Records<SharedAccess>{*this}, TableLocks{*this}, counters};
}

}  // namespace pinfold::pvmmu
