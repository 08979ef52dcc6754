// `pinfold run`: supervises the monitors of one machine.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cli/run/run_options.hpp"
#include "cli/supervisor/member.hpp"

namespace pinfold::cli {

/// What the caller of supervise() is told, each once and by a call; empty: nothing.
struct SupervisorEvents {
  std::function<void()> named;    ///< The guests have their names: their sockets listen. They don't run yet.
  std::function<void()> running;  ///< The guests run, for the first time.
  std::function<void()> ending;   ///< No other life of a guest begins.
};

/// Runs the guests in one machine on stdin and stdout until their
/// last ends; messages and statistics go to stderr. Returns the exit code (exit_codes.hpp): the largest of
/// all guests'.
///
/// A machine runs in a monitor of its own (monitor_process.hpp). A guest that restarts while others are there
/// stays in it; the last one gets a new monitor. This process reads nothing that a guest wrote. It holds the
/// guests' names, passes on signals, and restores the terminal. It has one thread.
int supervise(const MachineOptions& guests, SupervisorEvents events = {});

/// In the order in which the machine's monitor knows them.
using Members = std::vector<std::unique_ptr<Member>>;

/// The same for guests that have their names.
int supervise(Members members, SupervisorEvents events);

}  // namespace pinfold::cli
