// Why a vCPU left the guest, by name.
#pragma once

#include <cstdint>
#include <string>

namespace pinfold::report {

/// "mmu_update", "page fault", …; a number where there is no name. `cause`: as TraceKind::entered has it.
[[nodiscard]] std::string cause_label(std::uint64_t cause);

}  // namespace pinfold::report
