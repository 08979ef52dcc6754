// The rate at which a guest may transmit: xl's `rate=`.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

namespace pinfold::devices::net {

/// So many bytes in each interval.
struct Rate {
  std::uint64_t bytes = 0;
  std::chrono::microseconds interval{0};
};

/// Credit, as Linux's backend has it: at the start of each interval there are Rate::bytes; frames are
/// transmitted as long as there is any, and what the last one took too much is missing in the next interval.
///
/// Concurrency: any thread.
class Meter {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Meter(Rate rate) : rate_(rate), credit_(static_cast<std::int64_t>(rate.bytes)) {}

  /// Nothing: a frame may be sent. Else for how long none may.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> wait(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    const auto bytes = static_cast<std::int64_t>(rate_.bytes);
    if (now - since_ >= rate_.interval) {
      const auto intervals = (now - since_) / rate_.interval;
      since_ += intervals * rate_.interval;
      // A debt is at most one frame, and the intervals that pay it off may be many.
      for (auto n = intervals; n > 0 && credit_ < bytes; --n) credit_ += bytes;
      if (credit_ > bytes) credit_ = bytes;
    }
    if (credit_ > 0) return std::nullopt;
    return since_ + rate_.interval - now;
  }
  void spend(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    credit_ -= static_cast<std::int64_t>(bytes);
  }

 private:
  const Rate rate_;
  std::mutex mutex_;
  std::int64_t credit_;
  Clock::time_point since_ = Clock::now();
};

}  // namespace pinfold::devices::net
