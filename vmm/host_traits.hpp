// The differences between hosts that a running domain depends on. Probe guests find them,
// never a processor's model.
#pragma once

#include <cstdint>

#include "vmm/memory/view.hpp"

namespace pinfold::vmm {

/// The defaults are those of a shadow-paging host.
struct HostTraits {
  /// SYSCALL at CPL3 goes to LSTAR, but stays at CPL3.
  bool syscall_stays_at_cpl3 = true;
  /// KVM can be made to leave the VM at such a SYSCALL. Otherwise the code at LSTAR does it, at CPL3.
  bool leaves_at_syscall = true;
  /// At each exit KVM says whether it can interrupt the guest, which it can't while an exception waits.
  /// Otherwise the monitor asks KVM for waiting exceptions.
  bool tells_if_interruptible = true;
  /// KVM shadows the tables, and keeps its copy of a present entry when the monitor changes that entry.
  bool stale_entries = true;
  /// Code at CPL3 can use L4 slot 256.
  bool slot_256_usable = false;
  /// CPUID at CPL3 shows the processor's leaves, whatever KVM_SET_CPUID2 set.
  bool native_cpuid = true;
  /// The TSC has a constant rate, and the same value on all processors.
  bool tsc_invariant = true;
  /// CPL0 code in the VM runs natively, with two-dimensional paging: the gate uses its fast paths.
  bool fast_paths = false;
  /// The gate finishes plain page-table updates, too (vmm/gate/resident.cpp).
  bool resident = false;
  /// Breakpoints in the debug registers stop the guest. Otherwise they are kept, and have no effect.
  bool debug_registers = false;
  /// The guest may set CR4.FSGSBASE. Where each RDMSR leaves the VM it may not: a kernel that uses FSGSBASE
  /// reads MSR_KERNEL_GS_BASE at each context switch.
  bool fsgsbase = false;
  /// Of the host's processors, which the guest reads in MSR 0x8b, as on Xen.
  std::uint64_t microcode_revision = 0;
  WriteProtection protection = WriteProtection::mprotect;
  /// vm.max_map_count: how many mappings the monitor's process may have; 0 if unknown.
  std::uint64_t max_map_count = 0;

  /// May code at CPL3 use the exit port? If not, a port exit means CPL0.
  [[nodiscard]] bool port_open_to_cpl3() const { return syscall_stays_at_cpl3 && !leaves_at_syscall; }
};

}  // namespace pinfold::vmm
