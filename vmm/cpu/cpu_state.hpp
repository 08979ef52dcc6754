// What a PV vCPU is besides its registers: modes, roots, and what the guest set up by hypercalls.
#pragma once

#include <cstdint>

#include "pvmmu/types.hpp"
#include "vmm/cpu/debug_registers.hpp"
#include "vmm/cpu/nmi_latch.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// The state that hypercalls set. Guarded by the domain's lock.
struct CpuState {
  bool kernel_mode = true;
  /// Roots of the two modes; the processor runs on their mirrors. no_mfn: none.
  Mfn kernel_root = no_mfn, user_root = no_mfn;

  std::uint8_t iopl = 0;
  GuestVaddr io_bitmap;
  std::uint32_t io_bitmap_ports = 0;
  bool task_switched = false;  ///< Virtual CR0.TS.
  std::uint64_t cr4 = 0;       ///< The bits that the guest controls.
  bool cr4_changed = false;    ///< The processor may not have its TSD and FSGSBASE yet.
  std::uint64_t xcr0 = 1;
  DebugRegisters debug;

  NmiLatch nmi;
  /// A hypercall returns with TF set. A #DB comes before the next instruction, unless an event comes first.
  bool step_due = false;

  bool up = false;
  bool initialised = false;
  bool info_registered = false;

  /// Takes the bits of CR4 that a guest may set, and drops the others, as Xen does. `fsgsbase`: it is
  /// offered.
  void set_cr4(std::uint64_t value, bool fsgsbase) {
    cr4 = value & (cr4::tsd | cr4::de | cr4::osxsave | (fsgsbase ? cr4::fsgsbase : 0));
    cr4_changed = true;
  }
};

}  // namespace pinfold::vmm
