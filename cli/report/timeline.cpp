#include "report/timeline.hpp"

#include <algorithm>
#include <limits>

namespace pinfold::report {

void Timeline::note(std::uint32_t event, std::uint64_t time) {
  // A wait is long if it is a noticeable part of what was seen so far.
  constexpr std::uint64_t noticeable = 20'000;
  const bool waited = !points_.empty() && time - last_.time > gap_;
  if (waited && points_.back().event != last_.event) points_.push_back(last_);
  if (points_.empty() || waited || event - points_.back().event >= every) points_.push_back({event, time});
  gap_ = std::max(gap_, time / noticeable);
  last_ = {event, time};
}

/// Goes from a point as far as one straight line is near enough to all points passed.
std::vector<TimePoint> Timeline::points(std::size_t most) const {
  if (points_.empty()) return {};
  std::vector<TimePoint> all = points_;
  if (all.back().event != last_.event) all.push_back(last_);
  double tolerance = static_cast<double>(last_.time - all.front().time) / 1000;
  std::vector<TimePoint> kept;
  do {
    kept.assign(1, all.front());
    double least = 0, greatest = std::numeric_limits<double>::infinity();
    for (std::size_t i = 1; i < all.size(); ++i) {
      const auto run = [&] { return static_cast<double>(all[i].event - kept.back().event); };
      const auto rise = [&] { return static_cast<double>(all[i].time - kept.back().time); };
      const double slope = rise() / run();
      if (slope < least || slope > greatest) {
        kept.push_back(all[i - 1]);
        least = 0;
        greatest = std::numeric_limits<double>::infinity();
      }
      least = std::max(least, (rise() - tolerance) / run());
      greatest = std::min(greatest, (rise() + tolerance) / run());
    }
    if (kept.back().event != all.back().event) kept.push_back(all.back());
    tolerance *= 2;
  } while (kept.size() > most && tolerance > 0);
  return kept;
}

}  // namespace pinfold::report
