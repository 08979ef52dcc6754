// Keeping vCPUs out of the guest from outside, and letting them make one step.
//
// A vCPU that is stopped rests between two instructions of the guest's, all of its registers in regs(). Time
// goes on meanwhile, and so do events: they wait.
#include <algorithm>
#include <array>
#include <chrono>

#include "vmm/domain.hpp"

namespace pinfold::vmm {

void GuestCpu::stop(pvmmu::Held, StopReason reason) {
  stops_ |= static_cast<std::uint8_t>(reason);
  kick();
}

void GuestCpu::go_on(pvmmu::Held, StopReason reason) {
  stops_ &= static_cast<std::uint8_t>(~static_cast<std::uint8_t>(reason));
  kick();
}

/// Before guest code would run: rests as long as somebody wants it to. Did it? Then what is due has to be
/// looked at anew.
bool GuestCpu::rest_while_stopped(pvmmu::DomainLock& lock) {
  if (stops_ == 0 || domain_.ended()) return false;
  const RunState before = run_state_.state();
  run_state_.enter(RunState::offline, domain_.clock().now());
  while (stops_ != 0) {
    kicked_ = false;
    if (domain_.ended()) break;
    sleep_until_kicked(lock, 0);
  }
  run_state_.enter(before, domain_.clock().now());
  return true;
}

void GuestCpu::rest(bool resting) {
  at_rest_ = resting;
  if (resting) domain_.vcpu_left_guest();
}

void GuestCpu::step(pvmmu::Held) {
  stepping_ = true;
  step_armed_ = false;
  step_from_ = regs_.rip;
}

void GuestCpu::cancel_step(pvmmu::Held) {
  if (stepping_) registers_changed_ = true;  // the trap flag goes
  stepping_ = false;
}

/// Is the trap flag needed to come back after one instruction? Not at SYSCALL, which comes back in any case:
/// with the flag, its trap would hit the gate.
bool GuestCpu::steps_by_trap(pvmmu::Held held) {
  constexpr std::array syscall{std::byte{0x0f}, std::byte{0x05}};
  const auto code = instruction(held);
  return code.size() < syscall.size() || !std::equal(syscall.begin(), syscall.end(), code.begin());
}

/// After an exit: what the monitor emulated or bounced is one step, and no trap follows. A fault that was
/// resolved leaves RIP where it was; after an interruption the processor's own trap is still to come.
void GuestCpu::finish_step(pvmmu::Held held) {
  if (!stepping_ || interrupted_ || pass_under_way_ || regs_.rip == step_from_) return;
  cancel_step(held);
  if (domain_.debugger() != nullptr) domain_.debugger()->stepped(held, *this);
}

void Domain::stop(pvmmu::Held held, StopReason reason) {
  for (const auto& cpu : cpus_) cpu->stop(held, reason);
}

void Domain::go_on(pvmmu::Held held, StopReason reason) {
  for (const auto& cpu : cpus_) cpu->go_on(held, reason);
}

void Domain::wait_until_stopped(pvmmu::DomainLock& lock) {
  while (!wait_until_stopped(lock, std::chrono::seconds(1))) {
  }
}

bool Domain::wait_until_stopped(pvmmu::DomainLock& lock, std::chrono::milliseconds limit) {
  const auto all_rest = [this] {
    return ended() ||
           std::ranges::all_of(cpus_, [](const auto& cpu) { return !cpu->is_stopped() || cpu->at_rest(); });
  };
  return left_guest_.wait_for(lock, limit, all_rest);
}

}  // namespace pinfold::vmm
