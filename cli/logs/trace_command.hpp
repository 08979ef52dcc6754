// `pinfold trace` and `pinfold replay`: what is in a log of MMU events, and whether it would go the same
// again.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace pinfold::cli {

struct TraceCommandOptions {
  std::filesystem::path log;
  std::filesystem::path system_map;
  std::vector<std::string> filters;
  bool json = false;
  bool summary = false;
  bool follow = false;  ///< Wait for more at the log's end, until it is closed.
};

/// Prints a log on stdout. What can be read of a damaged one is printed; then the error, on stderr, and its
/// exit code.
int trace_command(const TraceCommandOptions& options);

struct ReplayOptions {
  std::filesystem::path log;
  std::filesystem::path system_map;
  std::optional<std::uint64_t> until;  ///< Stop after the event of this number.
  std::string break_on;                ///< Stop at the first refusal by this rule, or at any, "refused".
  std::string bisect;  ///< Stop after the first event after which the predicate (predicate.hpp) holds.
  std::optional<std::uint64_t> frame;  ///< Say of this frame what it is where the replay stops.
};

/// Gives the log's operations to a fresh validator. Exit codes: 0 all is as it was (or it stopped where it
/// should), 1 something differs, 3 the log is damaged or what was looked for did not come.
int replay_command(const ReplayOptions& options);

}  // namespace pinfold::cli
