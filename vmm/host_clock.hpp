// The host's clocks, as far as a guest's time depends on them.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// An interface, so that a test can let its host sleep.
class HostClock {
 public:
  virtual ~HostClock() = default;
  /// Ticks of the host's time-stamp counter. Over a sleep it goes on, stands still or starts anew.
  [[nodiscard]] virtual std::uint64_t tsc() const = 0;
  /// ns; stands still while the host sleeps (CLOCK_MONOTONIC).
  [[nodiscard]] virtual std::uint64_t awake() const = 0;
  /// How long the host has slept so far, in ns: CLOCK_BOOTTIME less CLOCK_MONOTONIC, give or take the time
  /// between two looks at a clock.
  [[nodiscard]] virtual std::uint64_t asleep() const = 0;
  /// Unix time in ns.
  [[nodiscard]] virtual std::uint64_t wall() const = 0;
};

/// The real ones.
[[nodiscard]] const HostClock& host_clock();

}  // namespace pinfold::vmm
