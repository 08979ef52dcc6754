// The options of a guest's console, and the command that attaches to one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/console/options.hpp"

namespace pinfold::cli {

void add_console_options(CLI::App& run, ConsoleOptions& options);
/// Adds `console NAME`.
[[nodiscard]] CLI::App* add_console_command(CLI::App& app, std::string& name);

}  // namespace pinfold::cli
