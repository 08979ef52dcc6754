// The options that describe a guest, for every command that makes one.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <tl/expected.hpp>

#include "cli/config/load_config.hpp"

namespace pinfold::cli {

struct GuestOptions {
  std::filesystem::path file;  ///< In the syntax of xl.cfg(5); empty: options only.
  GuestFlags flags;
  bool check_only = false;  ///< Print what was understood, and make no guest.
};

/// Adds the file and the options to a command. `options` outlives the parsing.
void add_guest_options(CLI::App& command, GuestOptions& options);

/// The guest of the file and the options. Errors, warnings and notices go to stderr; with `check_only`, the
/// configuration to stdout. An error is the exit code of a command that has nothing more to do. Call it
/// before the program has threads.
[[nodiscard]] tl::expected<GuestConfig, int> chosen_guest(const CLI::App& command,
                                                          const GuestOptions& options);

}  // namespace pinfold::cli
