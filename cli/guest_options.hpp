// The options that describe a guest, for every command that makes one.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/load_config.hpp"

namespace pinfold::cli {

struct GuestOptions {
  std::vector<std::filesystem::path> files;  ///< In the syntax of xl.cfg(5); empty: options only.
  GuestFlags flags;
  bool check_only = false;  ///< Print what was understood, and make no guest.
};

/// Adds the options to a command, and the files: one, or as many as a machine has guests. `options` outlives
/// the parsing.
enum class Guests : std::uint8_t { one, several };
void add_guest_options(CLI::App& command, GuestOptions& options, Guests most);

/// The guests of the files and the options; options that describe a guest are for one alone. Errors, warnings
/// and notices go to stderr; with `check_only`, the configuration to stdout. An error is the exit code of a
/// command that has nothing more to do. Call it before the program has threads.
[[nodiscard]] tl::expected<std::vector<GuestConfig>, int> chosen_guests(const CLI::App& command,
                                                                        const GuestOptions& options);

}  // namespace pinfold::cli
