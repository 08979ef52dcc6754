// The domain's system time: nanoseconds since its start, counted by the TSC that the guest reads too.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// Scales TSC ticks to nanoseconds as a guest does with what it finds in vcpu_time_info (xen/xen.h):
/// ns = (ticks shifted by `shift`) * mul / 2^32.
struct TscScale {
  std::uint32_t mul = 0;
  std::int8_t shift = 0;
  [[nodiscard]] static TscScale of_khz(std::uint32_t khz);
  [[nodiscard]] std::uint64_t to_ns(std::uint64_t ticks) const;
};

/// Never steps and never runs backwards. The monitor and the guest compute the same time from the same
/// counter, so a timer never fires early on the guest's own clock.
class Clock {
 public:
  /// `tsc_khz`: frequency of the guest's TSC; `tsc_offset`: guest TSC minus host TSC.
  Clock(std::uint32_t tsc_khz, std::uint64_t tsc_offset);

  /// System time now, in ns.
  [[nodiscard]] std::uint64_t now() const { return at(guest_tsc()); }
  [[nodiscard]] std::uint64_t guest_tsc() const;
  [[nodiscard]] std::uint64_t at(std::uint64_t guest_tsc) const {
    return scale_.to_ns(guest_tsc - start_tsc_);
  }
  [[nodiscard]] std::uint64_t start_tsc() const { return start_tsc_; }
  [[nodiscard]] const TscScale& scale() const { return scale_; }
  [[nodiscard]] std::uint32_t tsc_khz() const { return tsc_khz_; }
  /// Wall-clock time (Unix, ns) when system time was 0.
  [[nodiscard]] std::uint64_t wall_at_start() const { return wall_at_start_; }

 private:
  std::uint32_t tsc_khz_;
  std::uint64_t tsc_offset_;
  TscScale scale_;
  std::uint64_t start_tsc_ = 0;
  std::uint64_t wall_at_start_ = 0;
};

}  // namespace pinfold::vmm
