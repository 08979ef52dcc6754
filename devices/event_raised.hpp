// What became of an event that was raised, in either event ABI.
#pragma once

#include <cstddef>
#include <cstdint>

#include "devices/xen_abi.hpp"
#include "vmm/for_devices/events.hpp"

namespace pinfold::devices {

enum class Raised : std::uint8_t {
  already,  ///< it was pending: the guest will see it when it handles the earlier one
  quiet,    ///< pending now, but masked, or the vCPU had an upcall pending: no upcall is due
  upcall,   ///< the vCPU must take an upcall
};

/// Sets a vCPU's upcall flag. True if it was not set: the caller has to kick the vCPU.
inline bool mark_upcall(vmm::VcpuInfoPlace& vcpu) {
  constexpr std::size_t upcall_offset = offsetof(vcpu_info, evtchn_upcall_pending);
  static_assert(upcall_offset == 0);
  return vcpu.page.exchange(vcpu.offset + upcall_offset, std::uint8_t{1}) == 0;
}

}  // namespace pinfold::devices
