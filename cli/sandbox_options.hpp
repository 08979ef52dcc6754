// How `run` and `create` are told to confine the monitor.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/run/run_options.hpp"

namespace pinfold::cli {

void add_sandbox_options(CLI::App& app, SandboxOptions& options);

}  // namespace pinfold::cli
