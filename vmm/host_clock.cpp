#include "vmm/host_clock.hpp"

#include <x86intrin.h>

#include <ctime>

namespace pinfold::vmm {
namespace {

std::uint64_t read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

class RealHostClock final : public HostClock {
 public:
  std::uint64_t tsc() const override { return __rdtsc(); }
  std::uint64_t awake() const override { return read_clock(CLOCK_MONOTONIC); }
  std::uint64_t wall() const override { return read_clock(CLOCK_REALTIME); }

  /// The clocks can't be read at the same moment. Takes the try with the least time in between.
  std::uint64_t asleep() const override {
    constexpr std::uint64_t close_enough_ns = 1'000'000;
    constexpr int tries = 20;
    std::uint64_t least = ~std::uint64_t{0}, answer = 0;
    for (int i = 0; i < tries && least > close_enough_ns; ++i) {
      const std::uint64_t before = awake();
      const std::uint64_t both = read_clock(CLOCK_BOOTTIME);
      const std::uint64_t between = awake() - before;
      if (between >= least) continue;
      least = between;
      answer = both - before;
    }
    return answer;
  }
};

}  // namespace

const HostClock& host_clock() {
  static const RealHostClock clock;
  return clock;
}

}  // namespace pinfold::vmm
