// A vCPU's registers in the monitor.
#pragma once

#include <cstdint>

#include "vmm/gate/layout.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// The guest's registers between an exit and the next entry, whichever way the host's KVM goes in and out.
/// Guarded by the domain's lock.
struct GuestRegisters : Registers {
  std::uint16_t cs = gate::code64;
  std::uint16_t ss = gate::data3;
  bool changed = true;  ///< They are newer than what KVM holds.

  void set_selectors(std::uint16_t new_cs, std::uint16_t new_ss) {
    cs = new_cs;
    ss = new_ss;
  }
};

}  // namespace pinfold::vmm
