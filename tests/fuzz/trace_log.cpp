// A log of MMU events: with any bytes, the reader returns what is complete and says where that ends, a replay
// finds a difference or none and breaks nothing, and the report is a page of bounded size.
#include <optional>

#include "input.hpp"
#include "report/page.hpp"
#include "trace/filter.hpp"
#include "trace/reader.hpp"
#include "trace/replay.hpp"
#include "trace/summary.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::trace;
using pinfold::fuzz::promise;

/// A bound of the time that an input takes, whatever it says.
constexpr std::uint64_t most_frames_replayed = 4096;

/// Its pictures: with small bounds, so that they are reached.
void draw(std::span<const std::byte> bytes) {
  auto log = LogReader::from(bytes);
  if (!log || log->header().most_frames > most_frames_replayed ||
      log->header().machine_frames > most_frames_replayed)
    return;
  report::Limits limits;
  limits.changes = limits.links = limits.of_a_rule = 50;
  limits.domains = 4;
  limits.loans = {.pairs = 3, .of_a_pair = 5, .buckets = 16};
  const report::Model model = report::make_model(*log, limits);
  const auto& loans = model.loans;
  promise(model.domains.size() <= 4 && loans.pairs.size() <= 3 && loans.loans.size() <= 15,
          "what several domains do is listed within bounds");
  for (const report::Loan& loan : loans.loans)
    promise(loan.pair < loans.pairs.size() && loan.from <= loan.to && loan.to <= model.shown,
            "a mapping by a grant has its pair and its time");
  promise(!report::make_page(model, {}).empty(), "a log has its page");
}

/// The same log with correct checksums, which a fuzzer would not find.
std::vector<std::byte> with_checksums(std::span<const std::byte> bytes) {
  std::vector<std::byte> log(bytes.begin(), bytes.end());
  const auto set = [&](std::size_t at, std::uint32_t sum) {
    for (std::size_t i = 0; i < sizeof sum; ++i) log[at + i] = static_cast<std::byte>(sum >> (8 * i));
  };
  if (log.size() < log_header_bytes) return log;
  set(log_header_bytes - 4, checksum_of(std::span(log).first(log_header_bytes - 4), {}));
  for (std::size_t at = log_header_bytes; at + block_header_bytes <= log.size();) {
    const auto header = decode_block_header(std::span(log).subspan(at, block_header_bytes));
    if (!header || at + block_header_bytes + header->payload > log.size()) break;
    set(at + block_header_bytes - 4,
        checksum_of(std::span(log).subspan(at, block_header_bytes - 4),
                    std::span(log).subspan(at + block_header_bytes, header->payload)));
    at += block_header_bytes + header->payload;
  }
  return log;
}

void read(std::span<const std::byte> bytes, bool replayed) {
  auto log = LogReader::from(bytes);
  if (!log) {
    promise(log.error().offset <= bytes.size() && !log.error().message.empty(), "an error has its place");
    return;
  }
  std::unique_ptr<Replay> replay;
  if (replayed && log->header().most_frames <= most_frames_replayed &&
      log->header().mirror_pages <= most_frames_replayed) {
    auto made = Replay::of(log->header());
    promise(made.has_value(), "a small machine can be made");
    replay = std::move(*made);
  }
  Summary summary;
  std::uint64_t number = 0;
  LogReader::Step step{};
  while ((step = log->next()) == LogReader::Step::event) {
    const LogEvent& event = log->event();
    promise(event.number == number++, "events are numbered");
    promise(event.slot < pvmmu::entries_per_table || event.kind == pvmmu::TraceKind::entered,
            "a slot is in a table");
    promise(!line_of(log->header(), event, {}).empty(), "an event has its line");
    summary.add(event);
    if (replay && replay->step(event)) replay.reset();
  }
  promise(step == LogReader::Step::end || log->error().offset <= bytes.size(), "an error has its place");
  promise(!summary.json(log->header(), {}).empty(), "a log has its summary");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read(bytes, false);
  const auto checked = with_checksums(bytes);
  if (const auto header = decode_log_header(checked); !header && checked.size() >= log_header_bytes)
    promise(header.error().message != "the header is damaged", "the sums that are set are the right ones");
  read(checked, true);
  draw(checked);
  return 0;
}
