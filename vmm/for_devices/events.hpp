// The two sides of event delivery: what the monitor offers to an event-channel device, and what the device
// offers back.
#pragma once

#include <cstdint>

#include "pvmmu/errno.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// A vCPU's vcpu_info (64 bytes, xen.h): in shared_info at first, in a page of the guest's choice after
/// VCPUOP_register_vcpu_info. Offsets of its fields are relative to `offset`.
struct VcpuInfoPlace {
  SharedPage page;
  std::size_t offset = 0;
};

/// Offered by the domain to its event channels. Any thread may call it.
class EventTarget {
 public:
  virtual ~EventTarget() = default;
  [[nodiscard]] virtual std::uint32_t vcpu_count() const = 0;
  /// The domain's shared_info page: evtchn_pending and evtchn_mask of the 2-level ABI live there.
  [[nodiscard]] virtual SharedPage shared_info() = 0;
  [[nodiscard]] virtual VcpuInfoPlace vcpu_info(VcpuId vcpu) = 0;
  /// Makes the vCPU look at its evtchn_upcall_pending: wakes it when it blocks or polls, interrupts it when
  /// it runs.
  virtual void kick(VcpuId vcpu) = 0;
  /// A port became pending. A vCPU may be waiting for that very port in SCHEDOP_poll, and need not be the one
  /// that it notifies, nor need there be an upcall (PV spinlocks poll a masked port).
  virtual void wake_pollers(Port port) = 0;

  /// Holds a data frame of the guest's, for the FIFO ABI: it stays the guest's, and can't become a page table
  /// or descriptor page, while there is a copy of the page that is returned. EINVAL for any other frame.
  [[nodiscard]] virtual tl::expected<SharedPage, Errno> hold_frame(pvmmu::Held held, Mfn frame) = 0;
};

/// Offered by the event channels to the rest of the monitor. Any thread may call it.
class EventSource {
 public:
  virtual ~EventSource() = default;
  /// Raises a virtual interrupt (VIRQ_*, xen.h); dropped if the guest has not bound it, as on Xen.
  virtual void raise_virq(VcpuId vcpu, std::uint32_t virq) = 0;
  /// Raises the guest's end of a channel whose other end is the monitor; dropped unless it is connected.
  virtual void notify_guest(Port port) = 0;
  /// Is one of the guest's ports pending? False for a port that does not exist. For SCHEDOP_poll.
  [[nodiscard]] virtual bool is_pending(Port port) = 0;
  /// Is this a port number that SCHEDOP_poll accepts (in the range of the current ABI)?
  [[nodiscard]] virtual bool is_valid(Port port) = 0;
  /// After VCPUOP_register_vcpu_info: the pending words moved, all selectors must be looked at again
  /// (xen/vcpu.h).
  virtual void vcpu_info_moved(VcpuId vcpu) = 0;
};

}  // namespace pinfold::vmm
