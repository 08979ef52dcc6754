// What a domain offers to its grant table: the frames that it grants, and the entries that map what was
// granted to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "pvmmu/errno.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/trace.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/frame_receiver.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// The L1 entry by which a guest maps a grant: at a machine address (GNTMAP_contains_pte), or the one that
/// translates a virtual address for this vCPU's kernel.
struct GrantPlace {
  std::uint64_t address = 0;
  bool is_machine_address = false;
  VcpuId vcpu;
};

/// What such an entry says (xen/grant_table.h, GNTMAP_*).
struct GrantedEntry {
  DomId owner;  ///< Who granted the frame.
  Mfn frame;
  bool writable = false;
  bool for_user = false;   ///< GNTMAP_application_map.
  unsigned available = 0;  ///< GNTMAP_guest_avail: three bits that are the guest's.
  GrantRef ref{0};         ///< The grant.
};

/// A use of a grant that began, or was refused before any entry of a page table was looked at.
struct GrantAttempt {
  pvmmu::GrantPurpose purpose{};
  std::optional<GrantName> grant;  ///< None for a frame that is named by its number, or a handle.
  Mfn frame = no_mfn;              ///< Where it is known.
  std::uint64_t argument = 0;      ///< The bytes of a copy; the handle of an unmap.
  std::optional<pvmmu::Rule> refused;
};

/// Offered by the domain to its grant table, in hypercalls. What is mapped of another domain is held in that
/// domain as long as it is mapped here.
class GrantTarget {
 public:
  virtual ~GrantTarget() = default;
  /// Holds a frame of the domain's as long as there is a copy of the page (SharedPage). EINVAL if it is not
  /// the domain's; EBUSY if it is to be written, and in use as a table or a descriptor page.
  [[nodiscard]] virtual tl::expected<SharedPage, Errno> hold_granted(pvmmu::Held held, Mfn frame,
                                                                     FrameUse use) = 0;
  // An error of the next three: nothing was changed, except that replace_granted() clears `from` in any case
  // in which that is an entry.
  [[nodiscard]] virtual Status map_granted(pvmmu::Held held, const GrantPlace& where,
                                           const GrantedEntry& entry) = 0;
  /// The entry must still map the frame, with the same permission to write.
  [[nodiscard]] virtual Status unmap_granted(pvmmu::Held held, const GrantPlace& where,
                                             const GrantedEntry& entry) = 0;
  /// The same; what maps `from` is moved in its place.
  [[nodiscard]] virtual Status replace_granted(pvmmu::Held held, const GrantPlace& where,
                                               const GrantedEntry& entry, GuestVaddr from) = 0;
  /// A frame leaves the domain, and no vCPU reaches it any more; then it is nobody's until some domain has
  /// received it, or drop_given(). EINVAL if it is not the domain's, or in use for anything; ENOMEM if the
  /// host can't take it out of the view.
  [[nodiscard]] virtual Status give_away(pvmmu::Held held, VcpuId by, Mfn frame) = 0;
  /// The domain gives a frame to itself: it gets the place that `accept` says, and stays. EINVAL as above;
  /// else the error of `accept`, and the frame is the machine's.
  [[nodiscard]] virtual Status give_to_itself(pvmmu::Held held, Mfn frame, const AcceptFrame& accept) = 0;
  /// Nobody received the frame: it is the machine's.
  virtual void drop_given(pvmmu::Held held, Mfn frame) = 0;
  /// Calls `visit` without the domain's lock, and takes the lock again. What the caller knew of the domain
  /// may have changed meanwhile.
  virtual void without_lock(pvmmu::DomainLock& held, VcpuId by, const std::function<void()>& visit) = 0;
  /// Keeps this until nobody reaches the domain's tables and its view any more: what is mapped when it ends.
  virtual void keep_to_the_end(std::shared_ptr<void> uses) = 0;
  /// Before guest code runs again on `by`, no vCPU of the domain uses a translation that was unmapped.
  virtual void flush_granted(pvmmu::Held held, VcpuId by) = 0;
  /// Does anybody watch the domain (--trace-mmu)?
  [[nodiscard]] bool is_watched() const { return is_watched_; }
  /// For those who watch. Uses by an entry of a page table are told by those entries' operations.
  virtual void tell(pvmmu::Held held, const GrantAttempt& attempt) = 0;

 protected:
  GrantTarget() = default;
  explicit GrantTarget(bool is_watched) : is_watched_(is_watched) {}

 private:
  const bool is_watched_ = false;
};

}  // namespace pinfold::vmm
