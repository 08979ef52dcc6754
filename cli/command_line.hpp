// The program's commands and their options.
#pragma once

namespace pinfold::cli {

/// Does what the command line says, and returns the program's exit status (exit_codes.hpp). `version`: what
/// --version prints.
[[nodiscard]] int run_command_line(int argc, char** argv, const char* version);

}  // namespace pinfold::cli
