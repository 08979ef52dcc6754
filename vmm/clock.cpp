#include "vmm/clock.hpp"

#include <algorithm>

namespace pinfold::vmm {
namespace {

/// Shorter differences may come from reading two clocks one after the other on a very busy host.
constexpr std::uint64_t shortest_sleep_ns = 100'000'000;

/// After so many shifted ticks, as a power of 2, the nanoseconds have no fraction.
constexpr int whole_bits = 28;

}  // namespace

__extension__ using Wide = unsigned __int128;

TscScale TscScale::of_khz(std::uint32_t khz) {
  // Keeps mul in [2^31, 2^32), which gives the most precise 32 bits.
  std::uint64_t ratio = (1'000'000ULL << 32) / khz;  // ns per tick, 32 fractional bits
  TscScale s;
  while (ratio >= 1ULL << 32) {
    ratio >>= 1;
    ++s.shift;
  }
  while (ratio < 1ULL << 31) {
    ratio <<= 1;
    --s.shift;
  }
  // Over days the lost low bits matter, so divide once more with the final precision.
  const Wide numerator = Wide{1'000'000} << 32;
  s.mul =
      static_cast<std::uint32_t>(s.shift >= 0 ? (numerator >> s.shift) / khz : (numerator << -s.shift) / khz);
  s.mul &= ~((1U << (32 - whole_bits)) - 1);
  return s;
}

std::uint64_t TscScale::to_ns(std::uint64_t ticks) const {
  const std::uint64_t shifted = shift >= 0 ? ticks << shift : ticks >> -shift;
  return static_cast<std::uint64_t>((static_cast<Wide>(shifted) * mul) >> 32);
}

std::uint64_t TscScale::whole(std::uint64_t ticks) const {
  const int bits = whole_bits - shift;
  return bits <= 0 ? ticks : ticks >> bits << bits;
}

Clock::Clock(std::uint32_t tsc_khz, std::uint64_t tsc_offset, const HostClock& host)
    : host_(host), tsc_khz_(tsc_khz), tsc_offset_(tsc_offset), scale_(TscScale::of_khz(tsc_khz)) {
  base_tsc_ = guest_tsc();
  wall_at_zero_ = host_.wall();
  last_ = look();
}

TimeStamp Clock::stamp() const {
  const std::uint64_t tsc = base_tsc_ + scale_.whole(guest_tsc() - base_tsc_);
  return {tsc, at(tsc)};
}

std::uint64_t Clock::wall_at_zero() const {
  constexpr std::int64_t second = 1'000'000'000;
  // No guest gets a time before 1970, which it could not represent.
  const auto host = static_cast<std::int64_t>(wall_at_zero_);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(host + wall_offset_ * second, 0));
}

/// Reads the clocks in this order: time between two reads makes the time awake too long, never too short, and
/// a sleep between two reads is found at the next look.
Clock::Look Clock::look() const {
  Look look;
  look.awake = host_.awake();
  look.tsc = host_.tsc();
  look.asleep = host_.asleep();
  look.time = at(look.tsc + tsc_offset_);
  return look;
}

bool Clock::host_slept() {
  // If the TSC went back, the unsigned difference is large, too.
  if (host_.tsc() - last_.tsc < std::uint64_t{tsc_khz_} * 1000) return false;
  const Look now = look();
  if (now.asleep >= last_.asleep + shortest_sleep_ns) return true;
  last_ = now;
  return false;
}

void Clock::resume(std::uint64_t tsc_offset) {
  // The host's clock may be slower than the TSC, by 500 ppm while the host adjusts it. The guest must not see
  // an earlier time than before.
  const std::uint64_t awake = host_.awake() - last_.awake;
  base_time_ = last_.time + awake + awake / 1000;
  tsc_offset_ = tsc_offset;
  base_tsc_ = guest_tsc();
  wall_at_zero_ = host_.wall() - base_time_;
  last_ = look();
}

}  // namespace pinfold::vmm
