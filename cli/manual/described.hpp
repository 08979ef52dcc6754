// The program's commands as its help describes them, for manual pages and completion.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace pinfold::cli::manual {

struct DescribedOption {
  std::vector<std::string>
      names;          ///< With their dashes, the short ones first. A positional has one, without.
  std::string value;  ///< What its value is called, such as FILE; empty: it takes none.
  std::vector<std::string> choices;  ///< All values that there are; empty: more than a few words.
  std::string limits;                ///< Which numbers it takes, as a sentence; or empty.
  std::string preset;                ///< Its value if it is not given; or empty.
  bool value_may_be_missing = false;
  bool several = false;  ///< It takes several values, or may be given several times.
  bool required = false;
  std::string about;
};

struct DescribedCommand {
  std::string name;  ///< Empty: the program itself.
  std::string about, footer;
  std::vector<DescribedOption> options, positionals;
};

/// The command without its commands. What the help does not show is not in it.
[[nodiscard]] DescribedCommand described(const CLI::App& command);
/// All commands of the program, in the order of the help.
[[nodiscard]] std::vector<DescribedCommand> described_commands(const CLI::App& program);

/// The positional is the name of a running guest.
[[nodiscard]] bool is_guest(const DescribedOption& option);

}  // namespace pinfold::cli::manual
