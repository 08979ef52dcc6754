// `pinfold run`: supervises the monitors of one guest.
#pragma once

#include <functional>

#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// Runs the guest on stdin and stdout until its last end; messages and statistics go to stderr. Returns the
/// exit code (exit_codes.hpp).
///
/// Each life of the guest runs in a monitor of its own (monitor_process.hpp). This process reads nothing that
/// a guest wrote. It holds the guest's name, passes on signals, and restores the terminal. It has one thread.
/// `on_running` is called once, when the guest runs for the first time.
int supervise(const RunOptions& options, std::function<void()> on_running = {});

}  // namespace pinfold::cli
