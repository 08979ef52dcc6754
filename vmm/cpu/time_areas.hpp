// What one vCPU's guest is told of time, in its own memory: system time and the vCPU's run state.
#pragma once

#include "pvmmu/types.hpp"
#include "vmm/clock.hpp"
#include "vmm/cpu/run_state.hpp"
#include "vmm/for_devices/events.hpp"
#include "vmm/for_devices/guest_memory.hpp"

struct vcpu_runstate_info;  // xen/vcpu.h
struct vcpu_time_info;      // xen/xen.h

namespace pinfold::vmm {

/// Keeps where the guest wants its copies, and writes them. Needs the kernel's memory for each write; a copy
/// that can't be written is left out.
///
/// Concurrency: under the domain's lock, in whose thread the caller is.
class TimeAreas {
 public:
  /// VCPUOP_register_vcpu_time_memory_area; address 0: none.
  void set_time_area(GuestVaddr area) { time_area_ = area; }
  /// VCPUOP_register_runstate_memory_area; address 0: none.
  void set_run_state_area(GuestVaddr area) { run_state_area_ = area; }

  /// How to get system time from the TSC (vcpu_time_info, xen/xen.h): into the vCPU's vcpu_info and the copy.
  /// `stable`: the TSC is the same on all processors (XEN_PVCLOCK_TSC_STABLE_BIT).
  void publish_time(GuestMemory& kernel, VcpuInfoPlace place, const Clock& clock, bool stable) const;
  /// The copy of the run state. `update_flag`: VMASST_TYPE_runstate_update_flag.
  void publish_run_state(GuestMemory& kernel, const RunStateClock& run_state, std::uint64_t now,
                         bool update_flag) const;

 private:
  void publish_time_copy(GuestMemory& kernel, const ::vcpu_time_info& time) const;

  GuestVaddr time_area_;
  GuestVaddr run_state_area_;
};

/// vcpu_runstate_info as of `now`.
[[nodiscard]] ::vcpu_runstate_info run_state_info(const RunStateClock& run_state, std::uint64_t now);

}  // namespace pinfold::vmm
