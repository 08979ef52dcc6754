// The domain's system time: the nanoseconds since its start during which the host was awake, counted by the
// TSC, which the guest reads, too.
#pragma once

#include <cstdint>

#include "vmm/host_clock.hpp"

namespace pinfold::vmm {

/// Converts TSC ticks to nanoseconds as a guest does by vcpu_time_info (xen/xen.h): ns = (ticks shifted by
/// `shift`) * mul / 2^32.
///
/// `mul` is a multiple of 16, at a cost of at most 8 ppb: so after each 2^28 (shifted) ticks the nanoseconds
/// have no fraction, and time can be counted on from there without a rounding error.
struct TscScale {
  std::uint32_t mul = 0;
  std::int8_t shift = 0;
  [[nodiscard]] static TscScale of_khz(std::uint32_t khz);
  [[nodiscard]] std::uint64_t to_ns(std::uint64_t ticks) const;
  /// The ticks up to the last moment without a fraction: at most 0.27 s less.
  [[nodiscard]] std::uint64_t whole(std::uint64_t ticks) const;
};

/// System time was `time` when the guest's TSC was `tsc`.
struct TimeStamp {
  std::uint64_t tsc = 0, time = 0;
};

/// System time never runs backwards, and skips no time during which the host was awake. The monitor and the
/// guest compute it from the same counter, so a timer never fires early by the guest's own clock.
///
/// While the host sleeps, system time stands still, like Xen's and like the host's timers. So the guest's
/// timeouts do not all expire at once. resume() makes up for what the counter did meanwhile by a new base,
/// which the guest has to be given, and sets the wall clock anew (docs/time.md).
///
/// Concurrency: called with the domain's lock held, except for what never changes.
class Clock {
 public:
  /// `tsc_khz`: frequency of the guest's TSC; `tsc_offset`: guest TSC minus host TSC.
  Clock(std::uint32_t tsc_khz, std::uint64_t tsc_offset, const HostClock& host = host_clock());

  /// System time now, in ns.
  [[nodiscard]] std::uint64_t now() const { return at(guest_tsc()); }
  [[nodiscard]] std::uint64_t guest_tsc() const { return host_.tsc() + tsc_offset_; }
  /// For guests, at most 0.27 s old. From any stamp since the last resume() the same times follow, to the
  /// nanosecond.
  [[nodiscard]] TimeStamp stamp() const;
  /// Wall-clock time (Unix, ns) at system time 0, as if the host had not slept since.
  [[nodiscard]] std::uint64_t wall_at_zero() const;

  /// Has the host slept since construction or the last resume()? Ask before you use any of the times above,
  /// if the vCPU's thread may have slept with the host. Reads the TSC, and once a second other clocks.
  [[nodiscard]] bool host_slept();
  /// After the host slept: system time goes on where it was. `tsc_offset`: the present one.
  void resume(std::uint64_t tsc_offset);

  /// Sets the guest's wall clock ahead of the host's by so many seconds, or back. Before the guest starts.
  void set_wall_offset(std::int64_t seconds) { wall_offset_ = seconds; }
  [[nodiscard]] std::int64_t wall_offset() const { return wall_offset_; }

  // These never change.
  [[nodiscard]] const TscScale& scale() const { return scale_; }
  [[nodiscard]] std::uint32_t tsc_khz() const { return tsc_khz_; }

 private:
  [[nodiscard]] std::uint64_t at(std::uint64_t guest_tsc) const {
    return base_time_ + scale_.to_ns(guest_tsc - base_tsc_);
  }
  /// The clocks at one moment. The host had not slept since the previous such moment.
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
  std::uint64_t wall_at_zero_ = 0;  ///< The host's.
  std::int64_t wall_offset_ = 0;    ///< In seconds.
  Look last_;
};

}  // namespace pinfold::vmm
