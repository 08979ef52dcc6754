// Watching the MMU events of a machine's guests, as `run` is asked to.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/system_map.hpp"
#include "trace/log.hpp"
#include "trace/text.hpp"

namespace pinfold::cli {

struct TraceOptions {
  /// nullopt: no trace. An empty path: to stderr, as lines.
  std::optional<std::filesystem::path> to;
  std::vector<std::string> filters;  ///< Of the lines; a log always has everything.
};

/// Opens the log's file, which gets its first bytes when the domain is made; null if the options ask for
/// none.
[[nodiscard]] tl::expected<std::unique_ptr<trace::LogOutput>, std::string> open_trace_log(
    const TraceOptions& options);
/// The log that the options ask for: null for none, an error for what can't be. `file` is open_trace_log()'s.
[[nodiscard]] tl::expected<std::shared_ptr<trace::Log>, std::string> make_trace(
    const TraceOptions& options, std::unique_ptr<trace::LogOutput> file,
    const std::shared_ptr<const SystemMap>& symbols);
/// Closes it, and says on stderr what was lost, if anything.
void close_trace(trace::Log& log);

/// Addresses' names; an empty map: they stay numbers.
[[nodiscard]] trace::Namer namer_of(const std::shared_ptr<const SystemMap>& symbols);

}  // namespace pinfold::cli
