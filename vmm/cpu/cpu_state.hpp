// What a PV vCPU is besides its registers: the traps, callbacks and modes that the guest set up by
// hypercalls.
#pragma once

#include <array>
#include <cstdint>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// One entry of the virtual IDT (trap_info, xen/arch-x86/xen.h). Address 0: none.
struct Trap {
  std::uint64_t address = 0;
  std::uint16_t cs = 0;
  std::uint8_t dpl = 0;
  bool masks_events = false;
};

/// An entry point registered by callback_op or set_callbacks. Address 0: none.
struct Callback {
  std::uint64_t address = 0;
  bool masks_events = false;
};

/// The state that hypercalls set. Guarded by the domain's lock.
struct CpuState {
  bool kernel_mode = true;
  std::array<Trap, 256> traps{};
  Callback event, failsafe, syscall, syscall32, sysenter, nmi;
  /// The gate has not been told of them yet.
  bool handlers_changed = true;
  std::uint64_t kernel_sp = 0;
  std::uint16_t kernel_ss = 0;

  /// Roots of the two modes; the processor runs on their mirrors. no_mfn: none.
  Mfn kernel_root = no_mfn, user_root = no_mfn;

  std::uint8_t iopl = 0;
  GuestVaddr io_bitmap;
  std::uint32_t io_bitmap_ports = 0;
  bool task_switched = false;  ///< Virtual CR0.TS.
  std::uint64_t cr4 = 0;       ///< The bits that the guest controls.
  std::uint64_t xcr0 = 1;
  std::array<std::uint64_t, 4> debug_address{};
  std::uint64_t dr6 = 0xffff0ff0, dr7 = 0x400;

  bool up = false;
  bool initialised = false;
  bool info_registered = false;
};

}  // namespace pinfold::vmm
