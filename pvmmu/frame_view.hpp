// The third wall as the validator sees it: which frames the domain's virtual machine gives access to.
#pragma once

#include <cstdint>

#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// What a domain may do with a frame of another domain's.
enum class Loan : std::uint8_t { none, read_only, read_write };

/// A domain's second-stage view of the machine: each frame is inaccessible, read-only, or writable. Only
/// `protect`, `revoke` and `lend` can fail, and `protect` is called before anything is changed. Once
/// `protect` returns, no processor of the domain writes the frame through a translation that it had cached;
/// once `revoke` returns, none reads it either.
class FrameView {
 public:
  virtual ~FrameView() = default;
  /// Read-only, before the frame's contents are checked as a table's or descriptor page's. False: the host
  /// refused.
  [[nodiscard]] virtual bool protect(Mfn mfn) = 0;
  /// Read-write again: the frame is plain data.
  virtual void unprotect(Mfn mfn) = 0;
  /// The frames became the domain's.
  virtual void grant(Mfn first, std::uint64_t count) = 0;
  /// The frame no longer belongs to the domain: no access.
  virtual void revoke(Mfn mfn) = 0;
  /// Revokes adjacent frames at once. False: the host refused, and each of them may be in the view or not; or
  /// this view revokes them one by one only.
  [[nodiscard]] virtual bool revoke_run(Mfn, std::uint64_t) { return false; }
  /// Did the last `revoke` of the frame succeed? False: the host refused, and no other domain may get the
  /// frame.
  [[nodiscard]] virtual bool revoked(Mfn) const { return true; }
  /// Gives access to a frame that is another domain's and stays so, or changes or ends that; the frame's
  /// contents stay. Once this returns, no processor of the domain does more with the frame than `loan` says.
  /// False: the host refused, and the access is what it was.
  [[nodiscard]] virtual bool lend(Mfn mfn, Loan loan) = 0;

  // -- a second way to frames of the domain's own, for code that the guest does not control
  /// From now on code at CPL0 of the domain's VM may store into the frame, although it may be read-only for
  /// everything else there. False: it may not, because there is no such way or the host refused. A frame that
  /// is revoked, or lent to nobody, is closed by that.
  [[nodiscard]] virtual bool open_window(Mfn) { return false; }
  /// Ends that, for a frame whose contents are to be believed. Once it returns, no processor stores into the
  /// frame. False: the host refused.
  [[nodiscard]] virtual bool close_window(Mfn) { return true; }
  [[nodiscard]] virtual bool is_window_open(Mfn) const { return false; }
};

}  // namespace pinfold::pvmmu
