// The host's clocks that a guest's time depends on.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// An interface, so that tests can simulate a host that sleeps.
class HostClock {
 public:
  virtual ~HostClock() = default;
  /// The host's time-stamp counter. While the host sleeps it may go on, stand still or restart at 0.
  [[nodiscard]] virtual std::uint64_t tsc() const = 0;
  /// CLOCK_MONOTONIC, in ns. Stands still while the host sleeps.
  [[nodiscard]] virtual std::uint64_t awake() const = 0;
  /// How long the host has slept since it booted, in ns: CLOCK_BOOTTIME minus CLOCK_MONOTONIC. Not exact,
  /// because the two clocks are read one after the other.
  [[nodiscard]] virtual std::uint64_t asleep() const = 0;
  /// Unix time in ns.
  [[nodiscard]] virtual std::uint64_t wall() const = 0;
};

/// The real clocks.
[[nodiscard]] const HostClock& host_clock();

}  // namespace pinfold::vmm
