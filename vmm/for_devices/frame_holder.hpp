// Guest frames for a device's own thread, outside of hypercalls.
#pragma once

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// One thread's way to the frames of a domain. Made by Domain::frame_holder; ended before the domain is torn
/// down.
///
/// A hold and a release take one atomic count each, while the vCPUs go on changing page tables; the rare ones
/// that take more wait for the domain's lock.
///
/// Concurrency: used by one thread at a time, which must not have the domain's lock then: so not from a
/// hypercall's handler (EventTarget::hold_frame is for those).
class FrameHolder {
 public:
  virtual ~FrameHolder() = default;
  /// Holds a frame of the guest's as long as there is a copy of the page: it stays the guest's and, if it is
  /// held for writing, can't become a page table or a descriptor page. EINVAL if it is not the guest's; EBUSY
  /// if it is held already for what excludes this use. Settles first, so that what was held before does not
  /// pile up.
  [[nodiscard]] virtual tl::expected<SharedPage, Errno> hold(Mfn frame, FrameUse use) = 0;
  /// Releases the frames of all pages that are gone by now, whoever dropped them. Else the domain's next
  /// hypercall does.
  virtual void settle() = 0;
};

}  // namespace pinfold::vmm
