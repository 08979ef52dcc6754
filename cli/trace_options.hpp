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
  std::filesystem::path system_map;  ///< Empty: addresses stay numbers.
};

/// The sink that the options ask for: null for none, an error for what can't be.
[[nodiscard]] tl::expected<std::unique_ptr<trace::LogSink>, std::string> make_trace_sink(
    const TraceOptions& options, std::uint32_t vcpus);
/// Closes it, and says on stderr what was lost, if anything.
void close_trace_sink(trace::LogSink& sink);

/// Addresses' names by a System.map; an empty path: no names.
[[nodiscard]] tl::expected<trace::Namer, std::string> make_namer(const std::filesystem::path& system_map);

}  // namespace pinfold::cli
