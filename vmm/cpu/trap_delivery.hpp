// How exceptions, events and system calls enter the guest kernel, and how it returns: frames on the guest
// kernel's stack. The layouts are the ABI's (xen/arch-x86/xen-x86_64.h: struct iret_context;
// xen/arch-x86/xen.h: trap_info, callbacks).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "vmm/assists.hpp"
#include "vmm/cpu/base_registers.hpp"
#include "vmm/cpu/cpu_state.hpp"
#include "vmm/cpu/guest_exception.hpp"
#include "vmm/cpu/guest_registers.hpp"
#include "vmm/for_devices/guest_memory.hpp"
#include "vmm/vcpu_info.hpp"

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

/// Where the guest's kernel is entered, and on which stack: what set_trap_table, callback_op, set_callbacks,
/// nmi_op and stack_switch set.
struct EntryPoints {
  std::array<Trap, 256> traps{};
  Callback event, failsafe, syscall, syscall32, sysenter;
  bool changed = true;  ///< The gate has not been told of traps and callbacks yet.
  std::uint64_t kernel_sp = 0;
  std::uint16_t kernel_ss = 0;

  /// The handler of NMIs, whichever hypercall sets it: that of vector 2. 0: none.
  void set_nmi_handler(std::uint64_t address);
};

/// Changes one vCPU's registers from what was interrupted to the guest kernel's handler, and back (iret).
/// Keeps the guest's entry points; needs the vCPU's registers, modes and segment bases, and for each delivery
/// the kernel's memory and the vCPU's vcpu_info.
///
/// Each delivery returns nothing when it is done. Else the guest can't go on, and the words say why: there is
/// no handler, or its stack or frame can't be reached. Registers are then those of the moment of failure, for
/// a report.
///
/// Concurrency: under the domain's lock.
class TrapDelivery {
 public:
  struct Parts {
    GuestRegisters& registers;
    CpuState& state;
    BaseRegisters& bases;
    const Assists& assists;
  };
  /// Where a delivery reaches the guest, for the length of one call.
  struct Guest {
    GuestMemory& kernel;
    VcpuInfo info;
  };
  using Failure = std::optional<std::string>;

  explicit TrapDelivery(const Parts& parts) : parts_(parts) {}

  [[nodiscard]] EntryPoints& entry_points() { return entry_points_; }
  [[nodiscard]] const EntryPoints& entry_points() const { return entry_points_; }

  [[nodiscard]] Failure deliver(const Guest& guest, const GuestException& exception);
  /// The event upcall, of a guest that has a callback for it.
  [[nodiscard]] Failure deliver_event(const Guest& guest);
  /// The NMI that is due. Without a handler it is lost.
  [[nodiscard]] Failure deliver_nmi(const Guest& guest);
  /// A SYSCALL of a program; #UD at it if the kernel has no entry for it.
  [[nodiscard]] Failure deliver_syscall(const Guest& guest);
  /// INT n, with RIP still at it: the handler, if the guest's mode may use it, else #GP.
  [[nodiscard]] Failure software_interrupt(const Guest& guest, std::uint8_t vector);
  /// HYPERVISOR_iret; the value for RAX is in the frame. NMIs are no longer masked.
  [[nodiscard]] Failure iret(const Guest& guest);

  /// The other mode: its root and its GS base.
  void toggle_mode();

 private:
  struct Handler {
    std::uint64_t address;
    bool masks_events;
  };
  [[nodiscard]] Failure enter(const Guest& guest, const Handler& handler,
                              std::optional<std::uint64_t> error_code);

  Parts parts_;
  EntryPoints entry_points_;
};

}  // namespace pinfold::vmm
