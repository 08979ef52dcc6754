// The times of a log's events, and how many of something there were when, in few numbers.
#pragma once

#include "report/model.hpp"

namespace pinfold::report {

/// Told of events in their order; keeps those between which time runs evenly enough.
class Timeline {
 public:
  void note(std::uint32_t event, std::uint64_t time);
  /// About `most` points, the first and the last event among them. Times between two points are off by the
  /// log's duration / 1000 at most, unless `most` is too few for that.
  [[nodiscard]] std::vector<TimePoint> points(std::size_t most) const;

 private:
  static constexpr std::uint32_t every = 64;  ///< Events; a point at least so often.
  std::vector<TimePoint> points_;
  TimePoint last_;
  std::uint64_t gap_ = 0;  ///< Ticks; a longer wait gets a point at both of its ends.
};

/// How many, by time: as many buckets as there is place for, wider with each doubling of the log.
class Histogram {
 public:
  explicit Histogram(std::size_t most) : most_(most) {}
  void note(std::uint32_t event);
  [[nodiscard]] std::uint32_t bucket() const { return bucket_; }
  [[nodiscard]] const std::vector<std::uint32_t>& counts() const { return counts_; }

 private:
  std::size_t most_;
  std::uint32_t bucket_ = 1;
  std::vector<std::uint32_t> counts_;
};

}  // namespace pinfold::report
