// Stops and single steps, as far as they concern a vCPU's registers and its domain.
#include <algorithm>
#include <array>
#include <chrono>

#include "vmm/domain.hpp"

namespace pinfold::vmm {

void GuestCpu::stop(pvmmu::Held held, StopReason reason) {
  stops_.stop(held, reason);
  kick();
}

void GuestCpu::go_on(pvmmu::Held held, StopReason reason) {
  stops_.go_on(held, reason);
  kick();
}

void GuestCpu::cancel_step(pvmmu::Held held) {
  if (stops_.cancel_step(held)) regs_.changed = true;  // the trap flag goes
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
  if (interrupted_ || stubs_.under_way() || !stops_.has_stepped_to(regs_.rip)) return;
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
    return ended() || std::ranges::all_of(cpus_, [](const auto& cpu) {
             return !cpu->stops().is_stopped() || cpu->stops().at_rest();
           });
  };
  return flushes_.wait_for(lock, limit, all_rest);
}

}  // namespace pinfold::vmm
