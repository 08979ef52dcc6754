// How this host's KVM behaves, as far as pinfold depends on it.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// probe() finds these by running probe guests, never by a processor's name.
struct HostFacts {
  /// The guest keeps using the old page-table entry after the monitor changed it, even after INVLPG: KVM
  /// shadows the tables, and notices only stores by CPL0 code in the VM.
  bool stale_entries = false;
  /// SYSCALL at CPL3 goes to LSTAR, but stays at CPL3: CPL0 code does not run natively.
  bool syscall_stays_at_cpl3 = false;
  /// With kvm_run::request_interrupt_window set, KVM exits at such a SYSCALL (KVM_EXIT_IRQ_WINDOW_OPEN, RIP
  /// at LSTAR) before the OUT there is executed. This saves one entry into the guest.
  bool window_exit_at_syscall = false;
  /// CPL3 code can use addresses in L4 slot 256, where the ABI has the machine-to-phys table.
  bool slot_256_at_cpl3 = false;
  /// INT n at CPL3 goes through the IDT. Otherwise it raises #UD.
  bool int_n_through_idt = false;
  /// At the exit of an OUT to port 0x7e, RIP is behind the instruction and nothing is pending (a
  /// default quirk of KVM).
  bool out_7e_completes = false;
  /// IN, OUT, INS and OUTS at CPL3 raise #GP if the TSS's I/O map closes the port. So a port exit means CPL0.
  bool closed_port_faults = false;
  /// KVM_RUN with immediate_exit completes an IN that exited, and does not enter the guest. Registers that
  /// are set after that keep their values.
  bool access_is_finished_on_request = false;
  /// kvm_run::ready_for_interrupt_injection is 0 while an exception waits to be delivered, else 1. That
  /// includes breakpoints, which KVM_GET_VCPU_EVENTS never shows.
  bool tells_if_interruptible = false;
  /// CPUID at CPL3 shows what KVM_SET_CPUID2 set. Otherwise it shows the host's own leaves.
  bool cpuid_intercepted = false;
  /// KVM_VCPU_TSC_OFFSET changes what RDTSC at CPL3 reads.
  bool tsc_offset_works = false;
  /// With CR0.TS set, SSE at CPL3 raises #NM.
  bool task_switched_flag_works = false;
  /// A breakpoint of KVM_SET_DEBUGREGS stops code at CPL3, and KVM tells in DR6 which one it was.
  bool debug_registers_act = false;
  /// WRFSBASE and its kin work at CPL3 while CR4.FSGSBASE is set, and raise #UD while it is clear.
  bool fsgsbase_works = false;
  /// With CR4.TSD set, RDTSC at CPL3 raises #GP.
  bool time_stamp_disable_works = false;
  /// If mprotect forbids an access in the view, KVM_RUN fails with EFAULT, and the access succeeds once it is
  /// allowed: for absent frames and, unless userfaultfd_protects, for read-only frames.
  bool mprotect_protects = false;
  /// userfaultfd, without privileges, makes frames read-only with the same effect.
  bool userfaultfd_protects = false;
  /// Memory slots over the same pages keep what each of them forbids, for code at CPL0, too: a page that is
  /// read-only in the view is stored to through another mapping while that one permits it, and not while it
  /// does not; a slot with KVM_MEM_READONLY can only be read. Not tried, and false, on shadow-paging hosts.
  bool second_slots_work = false;
  bool in_kernel_irqchip = false;
  /// Such an EFAULT comes with the address, as KVM_EXIT_MEMORY_FAULT. This was tried, not only advertised.
  bool memory_fault_info = false;
  bool tsc_deadline_timer = false;
  std::uint32_t tsc_khz = 0;
  /// MSR 0x8b, as KVM reads it for the host; 0 if it does not.
  std::uint64_t microcode_revision = 0;
  /// The TSC has a constant rate, and the same value on all processors: the host uses it for its own time, or
  /// CPUID says so (0x80000007, EDX bit 8: invariant TSC).
  bool tsc_invariant = false;
  /// Width of the processor's physical addresses. A VM needs 39 bits; the upper half is
  /// for the monitor's pages.
  std::uint32_t address_bits = 0;
  /// vm.max_map_count: into how many mappings mprotect may split the view; 0 if unknown.
  std::uint64_t max_map_count = 0;

  /// Does the processor walk KVM's copy of the guest's tables, not the tables themselves?
  [[nodiscard]] bool shadow_paging() const { return stale_entries; }
  friend bool operator==(const HostFacts&, const HostFacts&) = default;
};

}  // namespace pinfold::vmm
