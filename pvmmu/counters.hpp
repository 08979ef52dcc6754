// What a validator has done, in numbers.
#pragma once

#include <cstdint>

namespace pinfold::pvmmu {

struct MmuCounters {
  std::uint64_t entries_checked = 0;  ///< Present entries that the guest asked for and a rule looked at.
  std::uint64_t entries_refused = 0;
  std::uint64_t entries_stored = 0;
  std::uint64_t tables_validated = 0;
  std::uint64_t tables_released = 0;
  std::uint64_t root_loads = 0;
  std::uint64_t dirty_faults = 0;
};

}  // namespace pinfold::pvmmu
