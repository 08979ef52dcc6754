// pinfold metrics.
#pragma once

#include "cli/inspect/inspect.hpp"

namespace pinfold::cli {

/// Adds the command to the program. Parsing it sets `action`, which outlives the parsing.
void add_metrics(CLI::App& app, Action& action);

}  // namespace pinfold::cli
