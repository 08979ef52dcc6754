// The report about a guest that crashed or was ended for an isolation fault.
#pragma once

#include <filesystem>
#include <string>
#include <tl/expected.hpp>

#include "cli/system_map.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// The guest kernel's names: of a System.map or /proc/kallsyms, or of an ELF file's symbol table. Both paths
/// empty: no names.
[[nodiscard]] tl::expected<SystemMap, std::string> load_symbols(const std::filesystem::path& system_map,
                                                                const std::filesystem::path& vmlinux);

/// Registers of every vCPU that `end` does not show already, and the call trace of each that was in its
/// kernel. After Domain::run(), before tear_down().
[[nodiscard]] std::string crash_report(vmm::Domain& domain, const vmm::End& end, const SystemMap& symbols);

}  // namespace pinfold::cli
