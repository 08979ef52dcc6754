// `pinfold manual`, which only the build gives: manual pages and completion scripts as files.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace pinfold::cli::manual {

struct ManualOptions {
  std::filesystem::path folder;    ///< In which man1/, man5/ and completions/ are made.
  std::filesystem::path document;  ///< docs/xl-cfg.md.
};

/// Adds the command. The help does not show it.
void add_manual(CLI::App& program, ManualOptions& options);

/// Writes a page for the program, for each of its commands and for configuration files, and a script for each
/// shell. Pages bear the date of $SOURCE_DATE_EPOCH (seconds since 1970), or today's. The exit code.
int write_manual(const CLI::App& program, const ManualOptions& options, const std::string& version);

}  // namespace pinfold::cli::manual
