// A domain as it gets a frame from another one (GNTTABOP_transfer).
#pragma once

#include <functional>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// What the receiving guest expects: the place in its memory, or why it does not take the frame.
using AcceptFrame = std::function<tl::expected<Pfn, Errno>()>;

/// A neighbour's way to hand a frame to a domain.
///
/// Concurrency: any thread without any domain's lock, as long as the domain can be visited
/// (vmm/for_devices/neighbours.hpp).
class FrameReceiver {
 public:
  virtual ~FrameReceiver() = default;
  /// If the domain may have one frame more, asks `accept` with its lock held, and makes the frame the
  /// domain's. ENOMEM if it may not; else the error of `accept`. In both cases the frame is still nobody's.
  [[nodiscard]] virtual Status receive(Mfn frame, const AcceptFrame& accept) = 0;
};

}  // namespace pinfold::vmm
