// usage: bench_validator ROW OPERATIONS [MEGABYTES [sequential | random [log | watched]]] Runs the operation
// of one row OPERATIONS times, on a machine of MEGABYTES (a power of two; 1024 if not given). Prints how
// often it ran and how many nanoseconds each run took. scripts/bench runs it and counts the instructions.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string_view>

#include "rows.hpp"
#include "trace/log_sink.hpp"

using namespace pinfold::pvmmu::bench;

namespace {

constexpr std::uint64_t least_mib = 16, most_mib = 1 << 20;

class Nowhere final : public pinfold::trace::LogOutput {
 public:
  bool begin(const pinfold::trace::LogHeader&) override { return true; }
  bool block(std::span<const std::byte>) override { return true; }
};

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

int usage() {
  std::fputs("usage: bench_validator ROW OPERATIONS [MEGABYTES [sequential | random [log | watched]]]\nrows:",
             stderr);
  for (const Row& row : rows()) std::fprintf(stderr, " %s", row.name.data());
  std::fputs("\n", stderr);
  return 2;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3 || count > 6) return usage();
  const auto row = std::ranges::find(rows(), std::string_view(words[1]), &Row::name);
  const std::uint64_t operations = number(words[2]);
  const std::uint64_t mib = count > 3 ? number(words[3]) : 1024;
  const std::string_view order = count > 4 ? words[4] : "sequential";
  if (row == rows().end() || operations == 0 || mib < least_mib || mib > most_mib ||
      (order != "sequential" && order != "random"))
    return usage();
  const std::string_view extra = count > 5 ? words[5] : "";
  if (!extra.empty() && extra != "log" && extra != "watched") return usage();
  try {
    // Traced into a log that is thrown away: this measures the whole cost of tracing except for the disk.
    pinfold::trace::LogSink watcher(std::make_unique<Nowhere>(), {});
    World world(mib, order == "random" ? Order::random : Order::sequential,
                extra == "log" ? Log::on : Log::off, extra == "watched" ? &watcher : nullptr);
    const Timing timing = row->run(world, operations);
    std::printf("%llu operations, %.2f ns each\n", static_cast<unsigned long long>(timing.operations),
                timing.seconds * 1e9 / static_cast<double>(timing.operations));
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_validator: %s\n", failure.what());
    return 1;
  }
  return 0;
}
