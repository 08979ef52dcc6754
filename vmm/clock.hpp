// The domain's system time: nanoseconds since its start that the host was awake, counted by the TSC that
// the guest reads too.
#pragma once

#include <cstdint>

#include "vmm/host_clock.hpp"

namespace pinfold::vmm {

/// Scales TSC ticks to nanoseconds as a guest does with what it finds in vcpu_time_info (xen/xen.h):
/// ns = (ticks shifted by `shift`) * mul / 2^32.
struct TscScale {
  std::uint32_t mul = 0;
  std::int8_t shift = 0;
  [[nodiscard]] static TscScale of_khz(std::uint32_t khz);
  [[nodiscard]] std::uint64_t to_ns(std::uint64_t ticks) const;
};

/// Never runs backwards, and steps over no time that the host was awake. The monitor and the guest compute
/// the same time from the same counter, so a timer never fires early on the guest's own clock.
///
/// While the host sleeps system time stands still, as on Xen, and as the host's timers do: the guest does not
/// find all its timeouts passed at once. What the counter did meanwhile is made up for by a new base
/// (`resume`), which the guest has to be told; the wall clock is set anew. docs/time.md
///
/// Under the domain's lock, but for what never changes.
class Clock {
 public:
  /// `tsc_khz`: frequency of the guest's TSC; `tsc_offset`: guest TSC minus host TSC.
  Clock(std::uint32_t tsc_khz, std::uint64_t tsc_offset, const HostClock& host = host_clock());

  /// System time now, in ns.
  [[nodiscard]] std::uint64_t now() const { return at(guest_tsc()); }
  [[nodiscard]] std::uint64_t guest_tsc() const { return host_.tsc() + tsc_offset_; }
  /// System time was `base_time` when the guest's TSC was `base_tsc`.
  [[nodiscard]] std::uint64_t base_tsc() const { return base_tsc_; }
  [[nodiscard]] std::uint64_t base_time() const { return base_time_; }
  /// Wall-clock time (Unix, ns) when system time was 0, had the host not slept since.
  [[nodiscard]] std::uint64_t wall_at_zero() const { return wall_at_zero_; }

  /// Has the host slept since construction, or since `resume`? Costs one look at the TSC, and once a second a
  /// look at other clocks: to be asked before any of the times above is used after the vCPU's thread may have
  /// slept with the host.
  [[nodiscard]] bool host_slept();
  /// The host has slept: system time goes on where it was. `tsc_offset` may be another than before.
  void resume(std::uint64_t tsc_offset);

  // These never change.
  [[nodiscard]] const TscScale& scale() const { return scale_; }
  [[nodiscard]] std::uint32_t tsc_khz() const { return tsc_khz_; }

 private:
  [[nodiscard]] std::uint64_t at(std::uint64_t guest_tsc) const {
    return base_time_ + scale_.to_ns(guest_tsc - base_tsc_);
  }
  /// A moment at which all clocks were looked at, and the host had not slept since the one before.
  struct Look {
    std::uint64_t awake = 0, tsc = 0, asleep = 0;
    std::uint64_t time = 0;  ///< System time.
  };
  [[nodiscard]] Look look() const;

  const HostClock& host_;
  std::uint32_t tsc_khz_;
  std::uint64_t tsc_offset_;
  TscScale scale_;
  std::uint64_t base_tsc_ = 0, base_time_ = 0;
  std::uint64_t wall_at_zero_ = 0;
  Look last_;
};

}  // namespace pinfold::vmm
