// The page through which the resident path and the monitor share the domain's lock.
#pragma once

#include <array>
#include <cstdint>

#include "pvmmu/core/table_hash.hpp"

namespace pinfold::vmm::gate {

/// All words are accessed atomically. Code in the VM can write all of them: the monitor reads none but the
/// owners of table locks, and these only to clear them.
struct ControlPage {
  /// Not 0: somebody in the monitor has the domain's lock alone, or wants it. The monitor writes it.
  alignas(64) std::uint64_t taken;
  /// Frames of the machine that the records are about. The monitor writes it, with `taken` set.
  std::uint64_t frames;

  /// Each guards the entries of some L1 tables, among vCPUs that are in the gate: the number of the vCPU that
  /// has it plus 1, or 0.
  struct alignas(64) TableLock {
    std::uint64_t owner;
  };
  static constexpr std::size_t table_locks = 32;
  std::array<TableLock, table_locks> tables;

  [[nodiscard]] TableLock& lock_of(Mfn table) { return tables[pvmmu::lock_of_table<table_locks>(table)]; }
};
static_assert(sizeof(ControlPage) <= page_size);

}  // namespace pinfold::vmm::gate
