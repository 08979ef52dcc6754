#include "cli/logs/log_inputs.hpp"

#include <fmt/format.h>

#include <utility>

#include "cli/trace_options.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {

tl::expected<LogInputs, std::string> LogInputs::open(const std::filesystem::path& log,
                                                     const std::filesystem::path& system_map) {
  auto symbols = SymbolFile::open_map(system_map);
  if (!symbols) return tl::unexpected("--system-map: " + symbols.error());
  auto source = trace::open_source(log);
  if (!source) return tl::unexpected(fmt::format("{}: {}", log.string(), source.error()));
  return LogInputs(log, std::move(*source), std::move(*symbols));
}

tl::expected<LogInputs::Content, std::string> LogInputs::read() {
  sandbox::confine_reader();
  const auto symbols = symbols_.read();
  if (!symbols) return tl::unexpected("--system-map: " + symbols.error());
  auto log = trace::LogReader::from(std::move(source_));
  if (!log) return tl::unexpected(fmt::format("{}: {}", log_.string(), log.error().describe()));
  return Content{std::move(*log), namer_of(*symbols)};
}

}  // namespace pinfold::cli
