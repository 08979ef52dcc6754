#include "cli/trace_options.hpp"

#include <fmt/format.h>

#include <csignal>

namespace pinfold::cli {

trace::Namer namer_of(const std::shared_ptr<const SystemMap>& symbols) {
  if (symbols->empty()) return {};
  return [symbols](std::uint64_t address) { return symbols->describe(address); };
}

tl::expected<std::unique_ptr<trace::LogOutput>, std::string> open_trace_log(const TraceOptions& options) {
  if (!options.to || options.to->empty()) return nullptr;
  // A limit on files' sizes is an error of write() like a full disk, not the end of the guest.
  std::signal(SIGXFSZ, SIG_IGN);
  auto file = trace::file_output(*options.to);
  if (!file) return tl::unexpected("--trace-mmu: " + file.error());
  return file;
}

tl::expected<std::shared_ptr<trace::Log>, std::string> make_trace(
    const TraceOptions& options, std::unique_ptr<trace::LogOutput> file,
    const std::shared_ptr<const SystemMap>& symbols) {
  if (!options.to) return nullptr;
  trace::Log::Options of_log;
  of_log.on_failure = [](const std::string& why) {
    fmt::print(stderr, "pinfold: the log of MMU events ends here, the guest goes on: {}\n", why);
  };
  if (file != nullptr) {
    if (!options.filters.empty())
      return tl::unexpected(
          std::string("--trace-filter: a log has everything, for replay needs it; filter when you read it"));
    return std::make_shared<trace::Log>(std::move(file), std::move(of_log));
  }
  constexpr std::chrono::milliseconds soon(20);
  of_log.flush_after = soon;
  auto filter = trace::Filter::of(options.filters);
  if (!filter) return tl::unexpected("--trace-filter: " + filter.error());
  return std::make_shared<trace::Log>(trace::text_output(stderr, std::move(*filter), namer_of(symbols)),
                                      std::move(of_log));
}

void close_trace(trace::Log& log) {
  const auto account = log.close();
  if (account.lost != 0)
    fmt::print(stderr, "pinfold: {} MMU events are not in the log; it has the {} before\n", account.lost,
               account.events);
}

}  // namespace pinfold::cli
