// How long a vCPU ran, waited and slept (vcpu_runstate_info, xen/vcpu.h).
#pragma once

#include <array>
#include <cstdint>

namespace pinfold::vmm {

enum class RunState : std::uint8_t { running, runnable, blocked, offline };

/// Accumulates the time spent in each state. Times are system time in ns.
class RunStateClock {
 public:
  void enter(RunState state, std::uint64_t now) {
    spent_[static_cast<std::size_t>(state_)] += now - since_;
    state_ = state;
    since_ = now;
  }
  [[nodiscard]] RunState state() const { return state_; }
  [[nodiscard]] std::uint64_t since() const { return since_; }
  [[nodiscard]] std::uint64_t spent(RunState state, std::uint64_t now) const {
    return spent_[static_cast<std::size_t>(state)] + (state == state_ ? now - since_ : 0);
  }

 private:
  RunState state_ = RunState::offline;
  std::uint64_t since_ = 0;
  std::array<std::uint64_t, 4> spent_{};
};

}  // namespace pinfold::vmm
