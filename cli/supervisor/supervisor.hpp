// `pinfold run`: supervises the monitors of one guest.
#pragma once

#include <functional>

#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// What the caller of supervise() is told, each once and by a call; empty: nothing.
struct SupervisorEvents {
  std::function<void()> named;    ///< The guest has its name: its sockets listen. It does not run yet.
  std::function<void()> running;  ///< The guest runs, for the first time.
};

/// Runs the guest on stdin and stdout until its last end; messages and statistics go to stderr. Returns the
/// exit code (exit_codes.hpp).
///
/// Each life of the guest runs in a monitor of its own (monitor_process.hpp). This process reads nothing that
/// a guest wrote. It holds the guest's name, passes on signals, and restores the terminal. It has one thread.
int supervise(const RunOptions& options, SupervisorEvents events = {});

}  // namespace pinfold::cli
