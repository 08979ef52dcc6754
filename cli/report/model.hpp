// A log, reduced to what its picture needs: the state of each frame over time, without the causes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/follower.hpp"
#include "report/loans.hpp"
#include "trace/reader.hpp"

namespace pinfold::report {

/// From event `event` on, the frames look so. Events are counted from 0; a log's later than 2^32 - 2 are not
/// shown.
struct Change {
  std::uint32_t event = 0;
  Look look;
  friend bool operator==(const Change&, const Change&) = default;
};

/// Neighbouring frames with the same history. Before its first change a frame is absent.
struct Run {
  std::uint64_t first = 0, count = 0;
  std::vector<Change> changes;  ///< In their order; each looks other than the one before.
};

/// While an upper table's entry named `child`: events [from, to).
struct Link {
  std::uint32_t parent = 0, child = 0;
  std::uint16_t slot = 0;
  std::uint32_t from = 0, to = 0;
  friend auto operator<=>(const Link&, const Link&) = default;
};

/// An event's time, ticks. Between two neighbours times are proportional, near enough to be drawn.
struct TimePoint {
  std::uint32_t event = 0;
  std::uint64_t time = 0;
};

/// A domain from its begin to its end: events [from, to).
struct DomainLife {
  DomId id;
  std::uint8_t number = 0;  ///< In Look::domain; a domain that begins again has the same.
  std::uint32_t vcpus = 0;
  std::uint64_t from = 0;
  std::optional<std::uint64_t> to;  ///< nullopt: the log does not say.
};

/// What the page shows of a log.
struct Model {
  trace::LogHeader header;          ///< The machine's frames are those at the log's end.
  std::vector<DomainLife> domains;  ///< The first so many that the log is about, in their order.
  std::uint64_t domains_left_out = 0;
  Loans::Result loans;
  std::uint64_t events = 0;      ///< In the log, as far as it could be read.
  std::uint64_t shown = 0;       ///< Of these, in the picture.
  std::uint64_t end_time = 0;    ///< Ticks.
  std::vector<Run> runs;         ///< In the order of frames; what is in none was never the domain's.
  std::uint32_t resolution = 1;  ///< Changes of a frame within so many events are one.
  std::vector<Link> links;       ///< By parent, slot, and begin.
  std::uint64_t links_left_out = 0;
  std::vector<TimePoint> times;
  std::vector<trace::LogEvent> refusals;  ///< The first so many of each rule:
  std::uint64_t listed_of_a_rule = 0;
  std::map<pvmmu::Rule, std::uint64_t> by_rule;  ///< All of them.
  std::uint32_t bucket = 1;                      ///< Events in a bucket of:
  std::vector<std::uint32_t> refusals_in;        ///< Refusals by bucket.
  std::uint64_t unfollowed = 0;
  std::string trouble;  ///< Why the log could not be read to its end; empty: it could.
  bool closed = false;  ///< The log ends with the end of the last domain.
};

/// Bounds of a page, whatever the log.
struct Limits {
  std::size_t changes = 1'500'000;
  std::size_t raw_changes = 40'000'000;  ///< That are kept while the log is read, 12 bytes each.
  std::size_t links = 500'000;
  std::size_t of_a_rule = 1'000;
  std::size_t time_points = 4'000;
  std::size_t buckets = 1'024;
  std::size_t domains = FrameFollower::most_domains;
  Loans::Limits loans = {};
};

/// Reads the log to its end, or to where it is damaged.
[[nodiscard]] Model make_model(trace::LogReader& log, const Limits& limits = {});

}  // namespace pinfold::report
