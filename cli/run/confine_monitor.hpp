// The moment at which a monitor gives up what it does not need.
#pragma once

#include "cli/run/failure.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// From here on the monitor opens no path and executes no program (docs/decisions/process-model.md), and
/// makes only the system calls of docs/sandbox.md. It has one thread, and has parsed nothing that an image's
/// maker or a guest wrote.
[[nodiscard]] Result<void> confine_monitor(const MachineOptions& guests);

/// Whether that is possible on this host, asked before anything is opened or unpacked.
[[nodiscard]] Result<void> can_confine_monitor(const RunOptions& options);

}  // namespace pinfold::cli
