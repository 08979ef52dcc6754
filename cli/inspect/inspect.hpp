// The commands that look at running guests: tables, frame, walk, explain.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace pinfold::cli {

/// What a command that was given on the command line does: returns the exit code.
using Action = std::function<int()>;

/// Adds the commands to the program. Parsing one of them sets `action`, which outlives the parsing.
void add_inspection(CLI::App& app, Action& action);

}  // namespace pinfold::cli
