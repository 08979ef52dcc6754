// Frames of the monitor that a guest may map and write: grant tables, and whatever else the ABI calls
// Xen-owned and shared.
#pragma once

#include "pvmmu/errno.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// A frame, and the monitor's access to it.
struct SharedFrame {
  Mfn mfn = no_mfn;
  SharedPage page;
};

/// Offered by the domain to its devices. Frames live as long as the domain.
class SharedFrameSource {
 public:
  virtual ~SharedFrameSource() = default;
  /// A zeroed frame that belongs to the monitor and that this domain may map writable. ENOMEM when there is
  /// none.
  [[nodiscard]] virtual tl::expected<SharedFrame, Errno> allocate(pvmmu::Held held) = 0;
};

}  // namespace pinfold::vmm
