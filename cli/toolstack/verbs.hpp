// The commands that act on running guests, with xl's names and habits: list, uptime, shutdown, reboot,
// destroy, pause, unpause, mem-set, vcpu-set, sysrq, trigger.
#pragma once

#include "cli/inspect/inspect.hpp"

namespace pinfold::cli {

/// Adds the commands to the program. Parsing one of them sets `action`, which outlives the parsing.
void add_verbs(CLI::App& app, Action& action);

}  // namespace pinfold::cli
