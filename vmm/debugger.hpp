// Who may take a guest's debug traps before the guest does.
#pragma once

#include <cstdint>

#include "pvmmu/lock.hpp"

namespace pinfold::vmm {

class GuestCpu;

/// Why a vCPU is kept from running guest code. Each reason stands for itself: the guest goes on when the last
/// is gone.
enum class StopReason : std::uint8_t { user = 1, debugger = 2 };

/// What a debugger is asked from a vCPU's thread, with the domain's lock held. It must not wait for anything.
class Debugger {
 public:
  virtual ~Debugger() = default;
  /// A #DB (vector 1) or #BP (3) of guest code, registers as the processor left them. True: it was the
  /// debugger's, and the guest never learns of it.
  [[nodiscard]] virtual bool takes_trap(pvmmu::Held held, GuestCpu& cpu, std::uint8_t vector) = 0;
  /// The instruction that the vCPU was to step over is done, without a trap: the monitor answered it.
  virtual void stepped(pvmmu::Held held, GuestCpu& cpu) = 0;
};

}  // namespace pinfold::vmm
