// The grant table's content: which frames a domain lets others use (xen/grant_table.h, version 1).
#pragma once

#include <map>
#include <vector>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/shared_frames.hpp"

namespace pinfold::devices {

/// The frames of one domain's table, and the grants in it that are in use. The guest writes the entries at
/// any time; an entry in use is marked so in the table, which keeps a well-behaved guest from ending it.
/// Needs the domain's lock to be held.
class GrantEntries {
 public:
  static constexpr std::uint32_t entries_per_frame = 512;

  GrantEntries(vmm::SharedFrameSource& source, std::uint32_t max_frames)
      : source_(source), max_(max_frames) {}

  [[nodiscard]] std::uint32_t max_frames() const { return max_; }
  [[nodiscard]] const std::vector<vmm::SharedFrame>& frames() const { return frames_; }
  /// At least `count` frames; ENOSPC above the maximum, otherwise the source's error.
  [[nodiscard]] Status grow(pvmmu::Held held, std::uint32_t count);

  /// Lets go of all frames. No backend uses a grant any more.
  void drop() { frames_.clear(); }

  /// For a backend: takes the grant into use, and says which frame of the granting domain it names. The
  /// number is the guest's word: the caller has to check ownership and take its own reference. EINVAL if
  /// there is no such grant, EPERM if it is not for `grantee` or not writable.
  [[nodiscard]] tl::expected<Mfn, Errno> acquire(GrantRef ref, DomId grantee, bool write);
  /// Once for each successful acquire, with the same `write`.
  void release(GrantRef ref, bool write);
  /// Swaps two entries, neither in use; EINVAL, EBUSY.
  [[nodiscard]] Status swap(GrantRef a, GrantRef b);

 private:
  struct Use {
    std::uint32_t readers = 0;
    std::uint32_t writers = 0;
  };
  [[nodiscard]] bool exists(GrantRef ref) const { return ref.raw() / entries_per_frame < frames_.size(); }
  [[nodiscard]] vmm::SharedPage& page_of(GrantRef ref);
  [[nodiscard]] static std::size_t offset_of(GrantRef ref);

  vmm::SharedFrameSource& source_;
  std::uint32_t max_;
  std::vector<vmm::SharedFrame> frames_;
  std::map<GrantRef, Use> uses_;
};

}  // namespace pinfold::devices
