// The report about a guest that crashed or was ended for an isolation fault.
#pragma once

#include <string>

#include "cli/system_map.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// Registers of every vCPU that `end` does not show already, and the call trace of each that was in its
/// kernel. After Domain::run(), before tear_down().
[[nodiscard]] std::string crash_report(vmm::Domain& domain, const vmm::End& end, const SystemMap& symbols);

}  // namespace pinfold::cli
