// The bits of the 2-level event ABI: what the guest reads when an upcall comes (xen.h: shared_info,
// vcpu_info).
#pragma once

#include <utility>

#include "devices/event_raised.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/events.hpp"

namespace pinfold::devices {

/// Pending, mask and selector words of one domain. Every operation is atomic towards the guest, which changes
/// all of them at any time; calls for one domain are made with the switch's lock held, so that they don't
/// race each other.
class EventBits {
 public:
  /// Ports of the 2-level ABI: 64 words of 64 bits (EVTCHN_2L_NR_CHANNELS).
  static constexpr std::uint32_t ports = 4096;

  EventBits() = default;
  explicit EventBits(vmm::SharedPage shared_info) : shared_(std::move(shared_info)) {}

  /// Marks a port pending; a masked port gets no selector bit, so it loses the edge until it is unmasked.
  [[nodiscard]] Raised set_pending(Port port, vmm::VcpuInfoPlace& vcpu);
  void clear_pending(Port port);
  [[nodiscard]] bool is_pending(Port port) const;
  /// Unmasks; true when the port was pending under its mask, and the vCPU must take an upcall for it.
  [[nodiscard]] bool unmask(Port port, vmm::VcpuInfoPlace& vcpu);
  /// Sets every selector bit and the upcall flag: the guest looks at all its words again.
  static void select_all(vmm::VcpuInfoPlace& vcpu);

 private:
  static bool select(Port port, vmm::VcpuInfoPlace& vcpu);

  vmm::SharedPage shared_;
};

}  // namespace pinfold::devices
