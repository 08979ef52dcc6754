// SCHEDOP_poll: the ports that a vCPU waits for.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// A vCPU's poll, from the hypercall that asks for it until the vCPU is awake again. Meanwhile the vCPU
/// counts once among the domain's pollers. A guest may ask several times before the vCPU sleeps (in a
/// multicall): the last request counts.
///
/// Threads: is_active() in any; all else in the vCPU's own.
class Poll {
 public:
  /// `pollers`: how many vCPUs of the domain poll. It outlives this object's use.
  explicit Poll(std::atomic<std::uint32_t>& pollers) : pollers_(pollers) {}

  /// `until_ns`: absolute system time in nanoseconds; 0: no limit.
  void begin(std::vector<Port> ports, std::uint64_t until_ns) {
    ports_ = std::move(ports);
    until_ns_ = until_ns;
    if (!active_.exchange(true)) ++pollers_;
  }
  void end() {
    if (active_.exchange(false)) --pollers_;
  }
  [[nodiscard]] bool is_active() const { return active_; }
  [[nodiscard]] const std::vector<Port>& ports() const { return ports_; }
  [[nodiscard]] std::uint64_t until_ns() const { return until_ns_; }

 private:
  std::atomic<std::uint32_t>& pollers_;
  std::atomic<bool> active_{false};
  std::vector<Port> ports_;
  std::uint64_t until_ns_ = 0;
};

}  // namespace pinfold::vmm
