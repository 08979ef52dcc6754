// What differs between hosts and matters to a running domain; found by running probe guests, never by
// processor model.
#pragma once

#include <cstdint>

#include "vmm/memory/view.hpp"

namespace pinfold::vmm {

/// Defaults are those of a shadow-paging host; a probe replaces them.
struct HostTraits {
  /// SYSCALL at CPL3 arrives at LSTAR still at CPL3.
  bool syscall_stays_at_cpl3 = true;
  /// KVM can be told to leave the VM there at once; else the code at LSTAR has to do it, at CPL3.
  bool leaves_at_syscall = true;
  /// KVM says at each exit whether it can interrupt the guest, which it can't while an exception waits. Else
  /// it is asked for waiting exceptions.
  bool tells_if_interruptible = true;
  /// KVM shadows the tables: its copy of an entry that was present survives the monitor's store.
  bool stale_entries = true;
  /// Code at CPL3 can use L4 slot 256.
  bool slot_256_usable = false;
  /// CPUID at CPL3 shows the processor's leaves, whatever KVM is told.
  bool native_cpuid = true;
  /// Time can be told from the TSC without asking again, on every vCPU alike.
  bool tsc_invariant = true;
  /// CPL0 code of the guest's runs natively, on two-dimensional paging: the gate finishes in the VM what it
  /// can.
  bool fast_paths = false;
  WriteProtection protection = WriteProtection::mprotect;

  /// May code at CPL3 use the gate's port? Where it may not, a port exit was made at CPL0.
  [[nodiscard]] bool port_open_to_cpl3() const { return syscall_stays_at_cpl3 && !leaves_at_syscall; }
};

}  // namespace pinfold::vmm
