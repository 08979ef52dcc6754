// The short locks of vCPUs that share the domain's lock.
#pragma once

#include <array>

#include "pvmmu/lock.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// Taken while the domain's lock is shared; whoever holds that alone finds these free.
class ConcurrentLocks {
 public:
  /// Guards the entries of this table, and of some others.
  [[nodiscard]] ShortLock& of_table(Mfn table) {
    // Tables lie side by side, or at equal distances: the product's upper bits differ all the same.
    constexpr std::uint64_t golden_ratio = 0x9e37'79b9'7f4a'7c15;  // of 2^64; Knuth vol. 3, 6.4
    return tables_[table.raw() * golden_ratio >> 58].lock;
  }
  /// Guards the stale log. Taken under a table's, and the other way around never.
  [[nodiscard]] ShortLock& of_stale_log() { return stale_log_; }
  /// Guards the note of the first breach; a leaf.
  [[nodiscard]] ShortLock& of_first_breach() { return first_breach_; }

 private:
  struct alignas(64) TableLock {
    ShortLock lock;
  };
  std::array<TableLock, 64> tables_;
  ShortLock stale_log_;
  ShortLock first_breach_;
};

}  // namespace pinfold::pvmmu
