#include "devices/net/event_gathering.hpp"

#include <algorithm>

namespace pinfold::devices::net {

void EventGathering::look() {
  if (ring_.owes_event()) return;
  frames_ = 0;
  bytes_ = 0;
  pacing_.taken();
}

void EventGathering::add(std::uint32_t frames, std::size_t bytes, Clock::time_point now) {
  if (frames == 0) return;
  if (frames_ == 0) since_ = now;
  frames_ += frames;
  bytes_ += bytes;
  pacing_.found(now);
}

bool EventGathering::tells(bool waited_for, Clock::time_point now) {
  ring_.show();
  look();
  if (!is_due(waited_for, now)) return false;
  frames_ = 0;
  bytes_ = 0;
  return ring_.publish();
}

bool EventGathering::is_due(bool waited_for, Clock::time_point now) {
  const bool at_once = waited_for || ring_.untold() >= most_gathered;
  if (!at_once && is_little()) return now - since_ >= Pacing::longest_wait;
  return pacing_.shows(at_once && frames_ != 0 ? Pacing::most_at_a_time : frames_, now);
}

std::optional<std::chrono::nanoseconds> EventGathering::rest(Clock::time_point now) const {
  if (is_little() && pacing_.expects_more(now)) return Pacing::look_after;
  return pacing_.rest(now);
}

std::optional<std::chrono::nanoseconds> EventGathering::until_told(Clock::time_point now) const {
  if (frames_ == 0) return std::nullopt;
  return std::max<std::chrono::nanoseconds>(since_ + Pacing::longest_wait - now, Pacing::look_after);
}

}  // namespace pinfold::devices::net
