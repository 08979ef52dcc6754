// The moment at which a monitor gives up what it does not need.
#pragma once

#include "cli/run/failure.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// Descriptors that a monitor makes later for a guest, or gets: of KVM, its devices and clients.
[[nodiscard]] std::uint64_t later_descriptors(const RunOptions& options);
/// As many as there are for guests that join, on a host that permits so many.
inline constexpr std::uint64_t descriptors_for_joining = 2048;

/// From here on the monitor opens no path and executes no program (docs/decisions/process-model.md), and
/// makes only the system calls of docs/sandbox.md. It has one thread, and has parsed nothing that an image's
/// maker or a guest wrote.
[[nodiscard]] Result<void> confine_monitor(const MachineOptions& guests);

/// Whether that is possible on this host, asked before anything is opened or unpacked.
[[nodiscard]] Result<void> can_confine_monitor(const RunOptions& options);

}  // namespace pinfold::cli
