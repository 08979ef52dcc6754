// When a frontend gets the event for frames that are done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "devices/back_ring.hpp"
#include "devices/pacing.hpp"

namespace pinfold::devices::net {

/// One direction of a queue. Responses are shown to the frontend at once, and an event follows when Pacing
/// says so. Often none is needed: a frontend that is at work, because frames arrive or because it transmits
/// the next one, takes what it was shown.
///
/// Not thread-safe.
class EventGathering {
 public:
  using Clock = Pacing::Clock;
  /// More responses do not wait: half of a ring.
  static constexpr std::uint32_t most_gathered = 128;

  /// The event for frames of less than `few_bytes` together waits as long as any may
  /// (Pacing::longest_wait). `ring` outlives this.
  EventGathering(BackRing& ring, std::size_t few_bytes) : ring_(ring), few_bytes_(few_bytes) {}

  /// Forgets what the frontend has taken. Call it before add().
  void look();
  /// Frames are done, whose responses are in the ring.
  void add(std::uint32_t frames, std::size_t bytes, Clock::time_point now);
  /// Shows all responses. True: the caller sends an event. `waited_for`: nothing goes on without the
  /// frontend.
  [[nodiscard]] bool tells(bool waited_for, Clock::time_point now);
  /// How long the thread may sleep before it looks at the frontend's ring; nothing: it has to ask for an
  /// event.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> rest(Clock::time_point now) const;
  /// How long an event may still wait for others; nothing: none waits.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> until_told(Clock::time_point now) const;

 private:
  [[nodiscard]] bool is_little() const { return frames_ != 0 && bytes_ < few_bytes_; }
  [[nodiscard]] bool is_due(bool waited_for, Clock::time_point now);

  BackRing& ring_;
  const std::size_t few_bytes_;
  Pacing pacing_;
  // What the frontend was shown and has not taken.
  std::uint32_t frames_ = 0;
  std::size_t bytes_ = 0;
  Clock::time_point since_{};
};

}  // namespace pinfold::devices::net
