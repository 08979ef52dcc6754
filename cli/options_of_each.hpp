// Options of which each guest of a machine has its own, from words that are given once for all of them.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// `--gdb`: each word is a place, or of several guests NAME=PLACE. Guests without one run at once. All guests
/// get the gate that a debugger needs, because they share it. An error is one line.
[[nodiscard]] tl::expected<void, std::string> give_debuggers(MachineOptions& machine,
                                                             const std::vector<std::string>& words);

/// The first option that names one file for all of several guests: the file's name has no `%n`. Null: none.
[[nodiscard]] const char* option_with_one_file(const MachineOptions& machine);

/// The guests' names; those without one get the names that they will have in this process.
[[nodiscard]] std::vector<std::string> names_of(const MachineOptions& machine);

/// In names of files, `%n` becomes the guest's name.
void name_files(RunOptions& options);

}  // namespace pinfold::cli
