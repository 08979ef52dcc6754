// When a queue shows responses to its frontend, and when it asks for an event: so that under load an event in
// either direction stands for many requests.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace pinfold::devices {

/// Each event costs the guest an exit. So responses are gathered, up to a target, and the queue looks at the
/// ring from time to time instead of asking for an event as long as they are.
///
/// How many responses can be gathered depends on how many requests the frontend has under way, which nobody
/// says. It is tried out: now and then the target is doubled. If nothing more comes for a while then (a few
/// times as long as the frontend takes for a request on average), the frontend waits for what is gathered:
/// that is shown, the target is halved, and the next try is further away. A frontend with one request under
/// way at a time is delayed by `most_patience` at most, in one request of `most_between_tries`.
///
/// Not thread-safe.
class Pacing {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds look_after{50};
  static constexpr std::chrono::microseconds least_patience{100}, most_patience{1000};
  /// No response waits longer, even if requests keep coming.
  static constexpr std::chrono::milliseconds longest_wait{2};
  static constexpr std::uint32_t most_at_a_time = 16;
  static constexpr std::uint32_t least_between_tries = 8, most_between_tries = 128;

  /// A look at the ring found new requests.
  void found(Clock::time_point now);
  /// Transfers were done.
  void done(Clock::time_point now) { last_progress_ = now; }
  /// Are `ready` responses to be shown now? They are, if so.
  [[nodiscard]] bool shows(std::uint32_t ready, Clock::time_point now);
  /// The frontend found by itself what waited.
  void taken() { ready_since_.reset(); }
  /// Was the last progress so short a time ago that more is likely?
  [[nodiscard]] bool expects_more(Clock::time_point now) const { return now - last_progress_ < patience(); }
  /// How long the thread may sleep without having asked for an event. Nothing: it has to ask.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> rest(Clock::time_point now) const;

 private:
  [[nodiscard]] std::chrono::nanoseconds patience() const;
  void reached_target();
  void waited_in_vain();

  std::uint32_t target_ = 1;
  std::uint32_t between_tries_ = least_between_tries;
  bool trying_ = false;                            ///< The target was doubled, and not reached since.
  std::uint32_t until_try_ = least_between_tries;  ///< Times that the target is reached.
  std::optional<Clock::time_point> ready_since_;   ///< The first response that waits.
  Clock::time_point last_found_{}, last_progress_{};
  std::chrono::nanoseconds between_requests_{least_patience};  ///< A moving average.
};

}  // namespace pinfold::devices
