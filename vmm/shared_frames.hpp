// Frames of the monitor that a guest may map and write: grant tables, and whatever else the ABI calls
// Xen-owned and shared.
#pragma once

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/shared_page.hpp"

namespace pinfold::vmm {

/// Offered by the domain to its devices. Frames live as long as the domain. Needs the domain's lock to be
/// held.
class SharedFrameSource {
 public:
  virtual ~SharedFrameSource() = default;
  /// A zeroed frame that belongs to the monitor and that this domain may map writable. ENOMEM when there is
  /// none.
  [[nodiscard]] virtual tl::expected<Mfn, Errno> allocate() = 0;
  /// The monitor's access to a frame that allocate() gave.
  [[nodiscard]] virtual SharedPage page(Mfn frame) = 0;
};

}  // namespace pinfold::vmm
