// The page through which the resident path and the monitor share the domain's lock.
#pragma once

#include <array>
#include <cstdint>

#include "pvmmu/types.hpp"

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

  [[nodiscard]] static constexpr std::size_t lock_of(Mfn table) {
    // Tables lie side by side, or at equal distances: the product's upper bits differ all the same.
    constexpr std::uint64_t golden_ratio = 0x9e37'79b9'7f4a'7c15;  // of 2^64; Knuth vol. 3, 6.4
    static_assert(table_locks == 32);
    return table.raw() * golden_ratio >> 59;
  }
};
static_assert(sizeof(ControlPage) <= page_size);

}  // namespace pinfold::vmm::gate
