// Scripts that make shells complete the words of a command line.
#pragma once

#include <string>
#include <vector>

#include "cli/manual/described.hpp"

namespace pinfold::cli::manual {

/// Each completes commands, options, the words that an option takes if there are few, names of running guests
/// (`pinfold list` knows them), and else files.
[[nodiscard]] std::string bash_completion(const DescribedCommand& program,
                                          const std::vector<DescribedCommand>& commands);
[[nodiscard]] std::string zsh_completion(const DescribedCommand& program,
                                         const std::vector<DescribedCommand>& commands);
[[nodiscard]] std::string fish_completion(const DescribedCommand& program,
                                          const std::vector<DescribedCommand>& commands);

}  // namespace pinfold::cli::manual
