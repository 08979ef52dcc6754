#include "devices/pacing.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices {

void Pacing::found(Clock::time_point now) {
  const std::chrono::nanoseconds passed = now - last_found_;
  between_requests_ = (7 * between_requests_ + std::min<std::chrono::nanoseconds>(passed, most_patience)) / 8;
  last_found_ = last_progress_ = now;
}

std::chrono::nanoseconds Pacing::patience() const {
  return std::clamp<std::chrono::nanoseconds>(4 * between_requests_, least_patience, most_patience);
}

bool Pacing::shows(std::uint32_t ready, Clock::time_point now) {
  if (ready == 0) return false;
  if (!ready_since_) ready_since_ = now;
  if (ready >= target_) {
    reached_target();
  } else if (now - *ready_since_ >= longest_wait) {
    target_ = ready;
  } else if (now - last_progress_ >= patience()) {
    waited_in_vain();
  } else {
    return false;
  }
  ready_since_.reset();
  return true;
}

void Pacing::reached_target() {
  if (std::exchange(trying_, false)) between_tries_ = least_between_tries;
  if (--until_try_ != 0) return;
  trying_ = target_ < most_at_a_time;
  target_ = std::min(2 * target_, most_at_a_time);
  until_try_ = between_tries_;
}

void Pacing::waited_in_vain() {
  trying_ = false;
  target_ = std::max(target_ / 2, 1U);
  between_tries_ = std::min(2 * between_tries_, most_between_tries);
  until_try_ = between_tries_;
}

std::optional<std::chrono::nanoseconds> Pacing::rest(Clock::time_point now) const {
  const bool gathering = ready_since_.has_value() || (target_ > 1 && expects_more(now));
  if (!gathering) return std::nullopt;
  return look_after;
}

}  // namespace pinfold::devices
