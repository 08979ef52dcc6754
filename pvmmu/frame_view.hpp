// The third wall, as the validator sees it: what the domain's virtual machine lets any code touch.
#pragma once

#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// A domain's second-stage view of the machine: per frame no access, read-only, or read-write. Only `protect`
/// and `revoke` can fail; the first is called before anything is changed. Once `protect` or `revoke` returns,
/// no processor of the domain writes (or reads) the frame through any translation that it had cached.
class FrameView {
 public:
  virtual ~FrameView() = default;
  /// Read-only, before the frame's contents are checked as a table's or descriptor page's. False: the host
  /// refused.
  [[nodiscard]] virtual bool protect(Mfn mfn) = 0;
  /// Read-write again: the frame is plain data.
  virtual void unprotect(Mfn mfn) = 0;
  /// The frame became the domain's.
  virtual void grant(Mfn first, std::uint64_t count) = 0;
  /// The frame is the domain's no more: no access.
  virtual void revoke(Mfn mfn) = 0;
  /// Did the last `revoke` of the frame do so? False: the host refused, and the frame must reach nobody else.
  [[nodiscard]] virtual bool revoked(Mfn) const { return true; }
};

}  // namespace pinfold::pvmmu
