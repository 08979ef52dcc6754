// What kind of KVM this is, as far as pinfold behaves differently on it.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// Found by running probe guests; never derived from a CPU's name. Filled by probe().
struct HostFacts {
  /// A page-table entry that the monitor stores while the processor walks the table is not seen by the guest,
  /// not even after INVLPG: KVM shadows the tables and learns of stores by the guest's own CPL0 code only.
  bool stale_entries = false;
  /// SYSCALL at CPL3 arrives at LSTAR still at CPL3: there is no CPL0 that runs natively.
  bool syscall_stays_at_cpl3 = false;
  /// With kvm_run::request_interrupt_window set, such a SYSCALL leaves KVM at once (KVM_EXIT_IRQ_WINDOW_OPEN,
  /// RIP at LSTAR) instead of by the OUT that stands there: one entry into the guest less.
  bool window_exit_at_syscall = false;
  /// CPL3 code can use addresses in L4 slot 256, where the ABI wants the machine-to-phys table.
  bool slot_256_at_cpl3 = false;
  /// INT n at CPL3 goes through the IDT; else it is #UD.
  bool int_n_through_idt = false;
  /// An OUT to port 0x7e leaves with RIP behind the instruction and nothing pending (KVM's default quirk).
  bool out_7e_completes = false;
  /// IN, OUT, INS and OUTS at CPL3 raise #GP where the TSS's I/O map keeps the port from CPL3: a port exit
  /// then was made at CPL0.
  bool closed_port_faults = false;
  /// KVM_RUN with immediate_exit completes an IN that left the guest, and enters the guest no more: registers
  /// that are set after it stay as they are.
  bool access_is_finished_on_request = false;
  /// kvm_run::ready_for_interrupt_injection is 0 while an exception waits to be delivered, and 1 when none
  /// does; also for a breakpoint, which KVM_GET_VCPU_EVENTS never shows.
  bool tells_if_interruptible = false;
  /// CPUID at CPL3 shows what KVM_SET_CPUID2 says; else the host's own leaves.
  bool cpuid_intercepted = false;
  /// KVM_VCPU_TSC_OFFSET changes what RDTSC at CPL3 reads.
  bool tsc_offset_works = false;
  /// CR0.TS makes SSE at CPL3 raise #NM.
  bool task_switched_flag_works = false;
  /// An access that mprotect keeps from the view fails KVM_RUN with EFAULT and goes on once allowed: frames
  /// that are not there and, unless userfaultfd does that, frames that are read-only.
  bool mprotect_protects = false;
  /// userfaultfd makes frames read-only in the same way, in the form that needs no privilege.
  bool userfaultfd_protects = false;
  bool in_kernel_irqchip = false;
  /// Such an EFAULT says where, as KVM_EXIT_MEMORY_FAULT (tried, not only advertised).
  bool memory_fault_info = false;
  bool tsc_deadline_timer = false;
  std::uint32_t tsc_khz = 0;
  /// The TSC runs at one rate whatever the processor does, and alike on all processors: the host keeps its
  /// own time by it, or the processor says so (CPUID 0x80000007, EDX bit 8: invariant TSC).
  bool tsc_invariant = false;
  /// Width of the processor's physical addresses; a VM needs 39, its upper half for what is the monitor's.
  std::uint32_t address_bits = 0;
  /// vm.max_map_count: how many pieces mprotect may cut the view into; 0 if unknown.
  std::uint64_t max_map_count = 0;

  /// Who walks the tables that the guest's CR3 names: KVM's copy of them, or the processor.
  [[nodiscard]] bool shadow_paging() const { return stale_entries; }
  friend bool operator==(const HostFacts&, const HostFacts&) = default;
};

}  // namespace pinfold::vmm
