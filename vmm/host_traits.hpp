// What differs between hosts and matters to a running domain; found by running probe guests, never by
// processor model.
#pragma once

#include <cstdint>

#include "vmm/memory/view.hpp"

namespace pinfold::vmm {

/// Defaults are those of a shadow-paging host; a probe replaces them.
struct HostTraits {
  /// SYSCALL at CPL3 arrives at LSTAR still at CPL3, and KVM can be told to leave the VM there at once.
  bool syscall_stays_at_cpl3 = true;
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
};

}  // namespace pinfold::vmm
