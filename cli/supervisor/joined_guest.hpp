// `pinfold create --with`: supervises a guest in the machine of another one.
#pragma once

#include <string>

#include "cli/run/run_options.hpp"
#include "cli/supervisor/supervisor.hpp"

namespace pinfold::cli {

/// Adds the guest to the machine of the running guest `with`, and supervises it until its end: the exit code.
/// When it starts again and is the last one there, its next life has a machine of its own, and this process
/// supervises that.
///
/// This process reads nothing that a guest wrote: another one, which has gone when the guest runs, opens what
/// the guest is made from, sends it, and looks at the answer.
int supervise_joined(const RunOptions& guest, const std::string& with, SupervisorEvents events);

}  // namespace pinfold::cli
