// Keeping a vCPU out of the guest from outside, and letting it make one step.
#pragma once

#include <cstdint>

#include "pvmmu/lock.hpp"
#include "vmm/debugger.hpp"

namespace pinfold::vmm {

/// Who wants one vCPU stopped, whether it rests, and the single step that it is to make.
///
/// A vCPU that is stopped rests between two instructions of the guest's, all of its registers in the monitor.
/// Time goes on meanwhile, and so do events: they wait. Whoever changes a stop kicks the vCPU.
///
/// Concurrency: the domain's lock, of which the members that change something take the proof.
class StopControl {
 public:
  void stop(pvmmu::Held, StopReason reason) { reasons_ |= bit(reason); }
  void go_on(pvmmu::Held, StopReason reason) { reasons_ &= static_cast<std::uint8_t>(~bit(reason)); }
  [[nodiscard]] bool is_stopped() const { return reasons_ != 0; }
  [[nodiscard]] bool is_stopped_by(StopReason reason) const { return (reasons_ & bit(reason)) != 0; }

  /// Is the vCPU neither in the guest nor about to answer what came out? The monitor's registers are the
  /// guest's then, and may be changed if it is stopped, too.
  [[nodiscard]] bool at_rest() const { return at_rest_; }
  void set_at_rest(pvmmu::Held, bool at_rest) { at_rest_ = at_rest; }

  /// Once the vCPU goes on: one instruction, from `rip` on, then the debugger is told. Of a vCPU that rests.
  void step(pvmmu::Held, std::uint64_t rip) {
    stepping_ = true;
    step_armed_ = false;
    step_from_ = rip;
  }
  /// True: there was a step, and the processor may have a trap flag that has to go.
  bool cancel_step(pvmmu::Held) {
    const bool stepped = stepping_;
    stepping_ = false;
    return stepped;
  }
  [[nodiscard]] bool is_stepping() const { return stepping_; }
  /// Before an entry that makes the step. True the first time: the processor's flags have to be set.
  [[nodiscard]] bool arm_step(pvmmu::Held) {
    if (!stepping_ || step_armed_) return false;
    step_armed_ = true;
    return true;
  }
  /// Has the instruction been done, with RIP now here?
  [[nodiscard]] bool has_stepped_to(std::uint64_t rip) const { return stepping_ && rip != step_from_; }

 private:
  [[nodiscard]] static constexpr std::uint8_t bit(StopReason reason) {
    return static_cast<std::uint8_t>(reason);
  }

  std::uint8_t reasons_ = 0;  ///< StopReasons.
  bool at_rest_ = true;
  bool stepping_ = false;
  bool step_armed_ = false;  ///< The processor has the trap flag, if the step needs it.
  std::uint64_t step_from_ = 0;
};

}  // namespace pinfold::vmm
