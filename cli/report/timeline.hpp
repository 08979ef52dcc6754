// The times of a log's events, in few numbers.
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

}  // namespace pinfold::report
