// The interface by which a debugger gets a guest's debug traps before the guest does.
#pragma once

#include <cstdint>

#include "pvmmu/lock.hpp"

namespace pinfold::vmm {

class GuestCpu;

/// Why a vCPU must not run guest code. Reasons are independent: the guest goes on when none is left.
enum class StopReason : std::uint8_t { user = 1, debugger = 2 };

/// Called from vCPUs' threads with the domain's lock held. The functions must not wait for anything.
class Debugger {
 public:
  virtual ~Debugger() = default;
  /// A #DB (vector 1) or #BP (3) in guest code; the registers are as the processor left them. True: the trap
  /// was the debugger's, and the guest does not get it.
  [[nodiscard]] virtual bool takes_trap(pvmmu::Held held, GuestCpu& cpu, std::uint8_t vector) = 0;
  /// A step ended without a trap, because the monitor emulated the instruction.
  virtual void stepped(pvmmu::Held held, GuestCpu& cpu) = 0;
};

}  // namespace pinfold::vmm
