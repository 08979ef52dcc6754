#include "vmm/clock.hpp"

#include <x86intrin.h>

#include <chrono>

namespace pinfold::vmm {

__extension__ using Wide = unsigned __int128;

TscScale TscScale::of_khz(std::uint32_t khz) {
  // mul is kept in [2^31, 2^32): the most precise 32 bits.
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
  // The lost low bits matter over days: divide once more at the final precision.
  const Wide numerator = Wide{1'000'000} << 32;
  s.mul =
      static_cast<std::uint32_t>(s.shift >= 0 ? (numerator >> s.shift) / khz : (numerator << -s.shift) / khz);
  return s;
}

std::uint64_t TscScale::to_ns(std::uint64_t ticks) const {
  const std::uint64_t shifted = shift >= 0 ? ticks << shift : ticks >> -shift;
  return static_cast<std::uint64_t>((static_cast<Wide>(shifted) * mul) >> 32);
}

Clock::Clock(std::uint32_t tsc_khz, std::uint64_t tsc_offset)
    : tsc_khz_(tsc_khz), tsc_offset_(tsc_offset), scale_(TscScale::of_khz(tsc_khz)) {
  start_tsc_ = guest_tsc();
  wall_at_start_ = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                  std::chrono::system_clock::now().time_since_epoch())
                                                  .count());
}

std::uint64_t Clock::guest_tsc() const { return __rdtsc() + tsc_offset_; }

}  // namespace pinfold::vmm
