#include "cli/trace_options.hpp"

#include <fmt/format.h>

#include <csignal>

namespace pinfold::cli {

tl::expected<trace::Namer, std::string> make_namer(const std::filesystem::path& system_map) {
  if (system_map.empty()) return trace::Namer();
  auto map = SystemMap::load(system_map);
  if (!map) return tl::unexpected(map.error());
  return [names = std::make_shared<SystemMap>(std::move(*map))](std::uint64_t address) {
    return names->describe(address);
  };
}

tl::expected<std::unique_ptr<trace::LogSink>, std::string> make_trace_sink(const TraceOptions& options,
                                                                           std::uint32_t vcpus) {
  if (!options.to) return nullptr;
  trace::LogSink::Options of_sink;
  of_sink.vcpus = vcpus;
  of_sink.on_failure = [](const std::string& why) {
    fmt::print(stderr, "pinfold: the log of MMU events ends here, the guest goes on: {}\n", why);
  };
  std::unique_ptr<trace::LogOutput> output;
  if (options.to->empty()) {
    constexpr std::chrono::milliseconds soon(20);
    of_sink.flush_after = soon;
    auto filter = trace::Filter::of(options.filters);
    if (!filter) return tl::unexpected("--trace-filter: " + filter.error());
    auto namer = make_namer(options.system_map);
    if (!namer) return tl::unexpected("--system-map: " + namer.error());
    output = trace::text_output(stderr, std::move(*filter), std::move(*namer));
  } else {
    if (!options.filters.empty())
      return tl::unexpected(
          std::string("--trace-filter: a log has everything, for replay needs it; filter when you read it"));
    // A limit on files' sizes is an error of write() like a full disk, not the end of the guest.
    std::signal(SIGXFSZ, SIG_IGN);
    auto file = trace::file_output(*options.to);
    if (!file) return tl::unexpected("--trace-mmu: " + file.error());
    output = std::move(*file);
  }
  return std::make_unique<trace::LogSink>(std::move(output), std::move(of_sink));
}

void close_trace_sink(trace::LogSink& sink) {
  const auto account = sink.close();
  if (account.lost != 0)
    fmt::print(stderr, "pinfold: {} MMU events are not in the log; it has the {} before\n", account.lost,
               account.events);
}

}  // namespace pinfold::cli
