// One virtual CPU: runs guest code, and answers what comes out.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pvmmu/lock.hpp"
#include "pvmmu/verdict.hpp"
#include "vmm/cpu/base_registers.hpp"
#include "vmm/cpu/cpu_state.hpp"
#include "vmm/cpu/descriptor_tables.hpp"
#include "vmm/cpu/entry_stubs.hpp"
#include "vmm/cpu/gate_link.hpp"
#include "vmm/cpu/guest_exception.hpp"
#include "vmm/cpu/guest_registers.hpp"
#include "vmm/cpu/host_timer.hpp"
#include "vmm/cpu/interrupt_shadow.hpp"
#include "vmm/cpu/repeated_fault.hpp"
#include "vmm/cpu/run_state.hpp"
#include "vmm/cpu/sleep.hpp"
#include "vmm/cpu/stop_control.hpp"
#include "vmm/cpu/time_areas.hpp"
#include "vmm/cpu/timers.hpp"
#include "vmm/cpu/trap_delivery.hpp"
#include "vmm/cpu/vcpu_bases.hpp"
#include "vmm/cpu/virtual_processor.hpp"
#include "vmm/cpu/wakeup.hpp"
#include "vmm/debugger.hpp"
#include "vmm/emulate/operands.hpp"
#include "vmm/gate/gate.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/guest_access.hpp"
#include "vmm/registers.hpp"
#include "vmm/statistics.hpp"

struct vcpu_guest_context;  // xen/arch-x86/xen.h

namespace pinfold::vmm {

class Domain;

/// A vCPU and the thread's loop that runs it.
///
/// run(): deliver what is due (delivery.cpp) → enter the guest (entry.cpp) → sort out why it came back
/// (exits.cpp, gate_exits.cpp) → answer: hypercalls (hypercalls/), exceptions (exceptions.cpp). The
/// guest's registers are in `regs()` between an exit and the next entry, whichever way the host's KVM goes in
/// and out.
///
/// What lasts from one exit to the next belongs to the parts, each with a header of its own. Most members
/// here hand out a part or carry what one part says to another, which is why there are more than elsewhere.
///
/// Concurrency: run() and interrupt() in the vCPU's own thread; kick() and sleep().is_polling() in any; all
/// else under the domain's lock.
class GuestCpu final : private SleepSurroundings {
 public:
  [[nodiscard]] static KvmResult<std::unique_ptr<GuestCpu>> create(Domain& domain, VcpuId id);

  /// Runs until the domain ends.
  void run();
  /// Makes run() look for pending events and for the domain's end soon. A signal is sent only to a vCPU that
  /// is in the guest, or about to be.
  void kick() { wakeup_.kick(); }
  /// The signal's handler, in the vCPU's own thread: KVM_RUN returns, or does not enter.
  void interrupt(bool by_timer);

  [[nodiscard]] VcpuId id() const { return id_; }
  [[nodiscard]] Domain& domain() { return domain_; }
  [[nodiscard]] Registers& regs() { return regs_; }
  [[nodiscard]] CpuState& state() { return state_; }
  [[nodiscard]] RunStateClock& run_state() { return run_state_; }
  /// What this vCPU needs to work on page tables while others do; null where nothing is shared: with one
  /// vCPU, and while somebody watches each change.
  [[nodiscard]] pvmmu::DomainSharer* sharer() { return sharer_; }
  [[nodiscard]] std::uint16_t cs() const { return regs_.cs; }
  [[nodiscard]] std::uint16_t ss() const { return regs_.ss; }
  /// The root of the mode that the guest is in.
  [[nodiscard]] const Mfn& root() const { return state_.kernel_mode ? state_.kernel_root : state_.user_root; }
  [[nodiscard]] GuestAccess memory(pvmmu::Held held);
  [[nodiscard]] GuestAccess kernel_memory(pvmmu::Held held);

  /// Registers of the domain's first vCPU (domain_builder).
  void start_at(GuestVaddr entry, GuestVaddr stack, GuestVaddr start_info);
  /// VCPUOP_initialise, on a vCPU that is not: EINVAL, and nothing held, when any part of the context is
  /// refused. ERESTART when the check of a root is not finished: the same call made again goes on with it,
  /// and the vCPU meanwhile holds what was loaded; another context, or a refusal, lets go of that.
  /// context.cpp
  [[nodiscard]] Status initialise(pvmmu::Held held, const ::vcpu_guest_context& context);
  void set_up(bool up);
  /// From another vCPU, itself, or outside. A vCPU that is down takes it when it comes up.
  void send_nmi(pvmmu::Held held);

  // -- what the vCPU holds
  [[nodiscard]] DescriptorTables& descriptors() { return descriptors_; }
  [[nodiscard]] const DescriptorTables& descriptors() const { return descriptors_; }
  [[nodiscard]] BaseRegisters& bases() { return bases_; }
  /// At the domain's end: roots and descriptor tables.
  void drop_everything(pvmmu::Held held);

  // -- roots: roots.cpp
  /// Makes `root` the kernel's or the programs' page table, as Validator::load_root does.
  [[nodiscard]] pvmmu::Verdict<> load_kernel_root(pvmmu::Held held, Mfn root);
  [[nodiscard]] pvmmu::Verdict<> load_user_root(pvmmu::Held held, Mfn root);
  void unload_roots(pvmmu::Held held);
  /// The gate has loaded roots without the monitor, and is not inside: takes their references. From any
  /// thread.
  void settle_roots(pvmmu::Held held);
  /// The domain's assists were changed. From any thread.
  void assists_changed(pvmmu::Held held);

  // -- how its kernel is entered: delivery.cpp
  [[nodiscard]] EntryPoints& entry_points() { return traps_.entry_points(); }
  /// HYPERVISOR_iret; ends the domain when it can't be done.
  void iret(pvmmu::Held held);

  // -- events and time: waiting.cpp
  [[nodiscard]] VcpuTimers& timers() { return timers_; }
  [[nodiscard]] VcpuSleep& sleep() { return sleep_; }
  [[nodiscard]] TimeAreas& time_areas() { return time_areas_; }
  void publish_time(pvmmu::Held held);
  void publish_run_state(pvmmu::Held held) override;

  /// One line each, for a crash report.
  [[nodiscard]] std::string describe(pvmmu::Held held);

  [[nodiscard]] Vcpu& vcpu() { return vcpu_; }

  // -- from outside: stopping.cpp
  [[nodiscard]] const StopControl& stops() const { return stops_; }
  void stop(pvmmu::Held held, StopReason reason);
  void go_on(pvmmu::Held held, StopReason reason);
  /// Once it goes on: one instruction, then the debugger is told. Of a vCPU that rests.
  void step(pvmmu::Held held) { stops_.step(held, regs_.rip); }
  void cancel_step(pvmmu::Held held);
  /// regs() were changed from outside.
  void note_new_registers(pvmmu::Held) { regs_.changed = true; }

 private:
  GuestCpu(Domain& domain, VcpuId id, Vcpu vcpu);

  // run_loop.cpp, exits.cpp
  void create_host_timer(pvmmu::Held held);
  bool before_entry(pvmmu::DomainLock& lock);
  void deliver_what_is_due(pvmmu::Held held, bool step_due);
  [[nodiscard]] bool waits_for_end_of_shadow();
  [[nodiscard]] bool window_exits_answer_syscalls() const;
  void ask_for_window_exit(bool once) {
    vcpu_.shared().request_interrupt_window = once || window_exits_answer_syscalls() ? 1 : 0;
  }
  [[nodiscard]] std::optional<GuestException> take_waiting_exception();
  void after_exit(pvmmu::DomainLock& lock, const RunResult& result);
  void on_exit(pvmmu::DomainLock& lock);
  [[nodiscard]] bool leaves_in_stub(pvmmu::DomainLock& lock, const RunResult& result);
  void on_shutdown(pvmmu::Held held);
  void on_interruption(pvmmu::DomainLock& lock, ExitReason reason);
  void on_interruption_at_cpl0(pvmmu::DomainLock& lock);
  void on_port(pvmmu::DomainLock& lock);
  [[nodiscard]] bool is_syscall_at_cpl3(AtOut stopped);
  void on_guests_own_port(pvmmu::DomainLock& lock);
  void on_syscall(pvmmu::DomainLock& lock, SyscallEntry entry);
  void hypercall(pvmmu::DomainLock& lock);

  // mmu_trace.cpp
  /// For whoever watches the MMU: what the vCPU asks for from here on, and why it left the guest.
  void trace_entered(pvmmu::Held held, std::uint64_t cause) {
    if (traced_) [[unlikely]]
      trace_entered_now(held, cause);
  }
  [[gnu::cold]] void trace_entered_now(pvmmu::Held held, std::uint64_t cause);
  void on_gate_exception(pvmmu::DomainLock& lock, std::uint8_t vector);
  void on_gate_exception(pvmmu::Held held, std::uint8_t vector, const ExceptionFrame& frame);
  void on_raised(pvmmu::Held held, const GuestException& raised);
  [[nodiscard]] DescriptorTables::LdtFault look_into_ldt(pvmmu::Held held, const GuestException& raised) {
    return descriptors_.look_into_ldt(held, raised, !state_.kernel_mode);
  }
  void on_fault_of_return(pvmmu::Held held, const GuestException& raised);
  void on_refused_return(pvmmu::Held held, const GuestException& exception);
  [[nodiscard]] bool end_if_gate_is_lost(pvmmu::Held held);
  void capture();

  // gate_exits.cpp
  [[nodiscard]] RunResult run_to_the_guests_own_exit();
  [[nodiscard]] RunResult run_vcpu();
  [[nodiscard]] bool is_interruption(const RunResult& result) const;
  [[nodiscard]] bool inside_gate(const RunResult& result);
  [[nodiscard]] bool at_cpl0();
  /// Where in the gate the vCPU stopped; nothing for guest code, whatever its RIP.
  [[nodiscard]] std::optional<GateAddress> gate_address();
  void resume_in_gate(pvmmu::Held held);
  [[nodiscard]] SegmentBases bases_for(std::span<const std::byte> instruction);
  void on_fast_exit(pvmmu::DomainLock& lock, GateExit why);
  void end_on_lock_not_left(pvmmu::Held held, const RunResult& result);
  void capture_return();

  // context.cpp
  [[nodiscard]] Status hold_initial_frames(pvmmu::Held held, const ::vcpu_guest_context& context);

  [[nodiscard]] bool may_enter(pvmmu::Held held);
  void reuse_retired_mirrors(pvmmu::DomainLock& lock);

  // view_fault.cpp
  void on_view_fault(pvmmu::Held held);
  /// Ends the domain if the validator found that a table is not what was stored there. Whether it did.
  [[nodiscard]] bool end_on_breach(pvmmu::Held held);

  // stopping.cpp
  [[nodiscard]] bool steps_by_trap(pvmmu::Held held);
  void finish_step(pvmmu::Held held);

  // fault_around.cpp
  void fault_around(pvmmu::Held held);

  // host_sleep.cpp
  void notice_host_sleep(pvmmu::DomainLock& lock);

  // SleepSurroundings: waiting.cpp
  [[nodiscard]] bool domain_ended() const override;
  [[nodiscard]] bool is_up() const override { return state_.up; }
  [[nodiscard]] bool upcall_due() override;
  [[nodiscard]] bool nmi_due() override { return state_.nmi.is_due(); }
  [[nodiscard]] bool port_pending(Port port) override;
  [[nodiscard]] std::uint64_t now() override;
  [[nodiscard]] std::uint64_t ticks() override;
  void check_timers(pvmmu::DomainLock& lock) override;
  void rests() override;
  [[nodiscard]] bool event_deliverable() { return entry_points().event.address != 0 && upcall_due(); }

  // entry.cpp
  void make_enterable(pvmmu::Held held);
  void load(pvmmu::Held held);
  [[nodiscard]] bool load_segments(pvmmu::Held held);
  [[nodiscard]] bool load_bases();
  void load_registers(pvmmu::Held held);
  void end_shadow();
  void enter_through_stub(pvmmu::Held held);
  /// The CR3 of a root; 0 for none.
  [[nodiscard]] std::uint64_t cr3_of(pvmmu::Held held, Mfn root);
  [[nodiscard]] bool is_64bit_code(pvmmu::Held held, std::uint16_t selector);
  /// Selectors that the guest loads itself (far transfers) show in frames and system registers, as on any
  /// processor.
  [[nodiscard]] bool processor_loads_selectors() const;
  [[nodiscard]] bool flat_selectors(pvmmu::Held held);

  // exceptions.cpp
  void on_exception(pvmmu::Held held, const GuestException& exception);
  void on_page_fault(pvmmu::Held held, std::uint64_t error_code, std::uint64_t address);
  void deliver_page_fault(pvmmu::Held held, std::uint64_t error_code, std::uint64_t address);
  [[nodiscard]] bool emulate_pte_store(pvmmu::Held held, std::uint64_t address, const pvmmu::Leaf& leaf);
  void on_protection_fault(pvmmu::Held held, std::uint64_t error_code);
  void on_invalid_opcode(pvmmu::Held held);
  void finish_emulation(pvmmu::Held held, const Outcome& outcome);
  [[nodiscard]] std::span<const std::byte> instruction(pvmmu::Held held);

  // debug_exceptions.cpp
  void on_debug_exception(pvmmu::Held held);
  [[nodiscard]] std::uint64_t debug_causes();
  void load_debug_registers();
  /// #DB with these causes, as bits of DR6.
  void deliver_debug(pvmmu::Held held, std::uint64_t causes);

  // delivery.cpp
  /// Each enters the guest's kernel at its handler, and ends the domain when that can't be.
  void deliver(pvmmu::Held held, const GuestException& exception);
  void deliver_event(pvmmu::Held held);
  void deliver_nmi(pvmmu::Held held);
  void deliver_syscall(pvmmu::Held held);
  void software_interrupt(pvmmu::Held held, std::uint8_t vector);
  void crash_on(pvmmu::Held held, const TrapDelivery::Failure& failure);

  Domain& domain_;
  VcpuId id_;
  Vcpu vcpu_;
  VirtualProcessor processor_;
  pvmmu::DomainSharer* sharer_ = nullptr;  ///< run()'s.

  GuestRegisters regs_;
  CpuState state_;
  VcpuBases processor_bases_;
  BaseRegisters bases_;
  DescriptorTables descriptors_;
  TrapDelivery traps_;
  EntryStubs stubs_;
  GateLink gate_link_;
  DebugRegisters::Loaded loaded_debug_;  ///< What KVM has.
  InterruptShadow shadow_;

  bool interrupted_ = false;                    ///< The last exit was between two instructions of the guest.
  bool left_by_port_ = false;                   ///< The last exit was a KVM_EXIT_IO.
  const char* entered_through_ = "not at all";  ///< The last entry, in words.
  bool traced_ = false;                         ///< Somebody watches the domain's MMU.
  std::array<std::byte, 15> instruction_{};
  RepeatedFault repeated_fault_;
  bool repeats_fault_ = false;  ///< The last exit was one for repeated_fault_.

  StopControl stops_;
  RunStateClock run_state_;
  HostTimer host_timer_;
  VcpuTimers timers_{host_timer_};
  Wakeup wakeup_;
  VcpuSleep sleep_;
  TimeAreas time_areas_;
  std::uint64_t time_due_ = 0;  ///< When the guest is told the time anew, in system time.
};

/// The signal that makes KVM_RUN return; its handler only sets two flags of the thread's vCPU.
void install_kick_handler();

}  // namespace pinfold::vmm
