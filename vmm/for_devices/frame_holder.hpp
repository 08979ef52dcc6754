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
  /// Holds a data frame of the guest's as long as there is a copy of the page: it stays the guest's, and
  /// can't become a page table or a descriptor page. EINVAL for any other frame. Settles first, so that what
  /// was held before does not pile up.
  [[nodiscard]] virtual tl::expected<SharedPage, Errno> hold(Mfn frame) = 0;
  /// Releases the frames of all pages that are gone by now, whoever dropped them. Else the domain's next
  /// hypercall does.
  virtual void settle() = 0;
};

}  // namespace pinfold::vmm
