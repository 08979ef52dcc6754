// What a vCPU and its gate tell each other at each entry and exit, where the gate finishes in the VM what it
// can.
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/assists.hpp"
#include "vmm/cpu/base_registers.hpp"
#include "vmm/cpu/cpu_state.hpp"
#include "vmm/cpu/guest_exception.hpp"
#include "vmm/cpu/trap_delivery.hpp"
#include "vmm/gate/gate.hpp"

namespace pinfold::vmm {

/// The monitor's side of one vCPU's state page. The gate changes modes, GS bases, the kernel's stack and
/// virtual CR0.TS without the monitor; between an exit and the next entry CpuState and its neighbours have
/// them all. What comes out of the state page is bounded here: code in the VM wrote it.
///
/// Concurrency: under the domain's lock, except ask_to_come_out(), which is for the vCPU's own thread while
/// that is in the guest.
class GateLink {
 public:
  struct Parts {
    VcpuId id;
    const Gate& gate;
    CpuState& state;
    EntryPoints& entry_points;
    BaseRegisters& bases;
    const Assists& assists;
  };
  explicit GateLink(const Parts& parts) : parts_(parts) {}

  // -- in the guest
  /// The gate was interrupted in the midst of its work: it goes on, and comes out when that is done.
  void ask_to_come_out();

  // -- after an exit
  /// Takes over what the gate changed. How often the vCPU was interrupted inside the gate since the last
  /// time.
  [[nodiscard]] std::uint64_t take();
  /// What the resident path checked and stored since the last time.
  [[nodiscard]] pvmmu::MmuCounters take_entries();
  /// The roots that the gate says it has loaded. Both may be anything.
  struct Roots {
    Mfn kernel, user;
  };
  [[nodiscard]] Roots roots() const;
  /// Why the gate left the VM; `none` where it did not. take() forgets it.
  void note_exit(GateExit why) { may_resume_ = why != GateExit::none && why != GateExit::broken; }
  /// Did the gate leave the VM itself, so that the vCPU may go on there?
  [[nodiscard]] bool may_resume() const { return may_resume_; }
  /// The guest's stack pointer at the SYSCALL that left.
  [[nodiscard]] std::uint64_t guest_rsp() const;
  /// Where the page fault that left was. The gate's word, like CR2 itself the VM's.
  [[nodiscard]] std::uint64_t fault_address() const;
  /// The exception that the gate's IRETQ to the guest raised.
  [[nodiscard]] GuestException refused_return(std::uint64_t cr2) const;

  // -- before an entry
  /// Does the processor's virtual CR0.TS differ from the guest's?
  [[nodiscard]] bool task_switched_differs() const;
  /// The mirror that the gate runs on.
  [[nodiscard]] std::uint64_t cr3() const;
  /// Gives the gate what it needs: all that take() takes, handlers that changed, and the mirrors of both
  /// modes' roots (0: none). The roots themselves are in the CpuState. `has_ldt`: a root is more than tables.
  void give(std::uint64_t kernel_cr3, std::uint64_t user_cr3, bool has_ldt);
  /// The same for assists alone: the vCPU may be in the guest.
  void give_assists();

 private:
  [[nodiscard]] std::uint64_t field(gate::StateField which) const;
  void set(gate::StateField which, std::uint64_t value) const;
  void give_handlers();

  Parts parts_;
  bool may_resume_ = false;
  bool has_ldt_ = false;
  std::uint64_t interruptions_ = 0;  ///< Inside the gate; not counted as exits yet.
};

}  // namespace pinfold::vmm
