// Watching a guest's MMU events, as `run` is asked to.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/system_map.hpp"
#include "trace/log_sink.hpp"
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
/// The sink that the options ask for: null for none, an error for what can't be. `log` is open_trace_log()'s.
[[nodiscard]] tl::expected<std::unique_ptr<trace::LogSink>, std::string> make_trace_sink(
    const TraceOptions& options, std::unique_ptr<trace::LogOutput> log,
    const std::shared_ptr<const SystemMap>& symbols, std::uint32_t vcpus);
/// Closes it, and says on stderr what was lost, if anything.
void close_trace_sink(trace::LogSink& sink);

/// Addresses' names; an empty map: they stay numbers.
[[nodiscard]] trace::Namer namer_of(const std::shared_ptr<const SystemMap>& symbols);

}  // namespace pinfold::cli
