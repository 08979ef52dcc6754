// The short locks of vCPUs that share the domain's lock.
#pragma once

#include <array>

#include "pvmmu/core/table_hash.hpp"
#include "pvmmu/lock.hpp"

namespace pinfold::pvmmu {

/// Taken while the domain's lock is shared; whoever holds that alone finds these free.
class ConcurrentLocks {
 public:
  /// Guards the entries of this table, and of some others.
  [[nodiscard]] ShortLock& of_table(Mfn table) { return tables_[lock_of_table<table_locks>(table)].lock; }
  /// Guards the stale log. Taken under a table's, and the other way around never.
  [[nodiscard]] ShortLock& of_stale_log() { return stale_log_; }
  /// Guards the note of the first breach; a leaf.
  [[nodiscard]] ShortLock& of_first_breach() { return first_breach_; }

 private:
  struct alignas(64) TableLock {
    ShortLock lock;
  };
  static constexpr std::size_t table_locks = 64;
  std::array<TableLock, table_locks> tables_;
  ShortLock stale_log_;
  ShortLock first_breach_;
};

}  // namespace pinfold::pvmmu
