// The grant table's content: which frames a domain lets others use (xen/grant_table.h, version 1).
#pragma once

#include <mutex>
#include <vector>

#include "devices/grant_sight.hpp"
#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/shared_frames.hpp"

namespace pinfold::devices {

/// What a grant is used for. A use for writing may read, too, as on Xen.
using GrantUse = vmm::FrameUse;
/// How long: until an unmap, or for one copy. Xen asks the entry different questions for the two.
enum class GrantSpan : std::uint8_t { mapping, copy };

/// The frames of one domain's table, and the grants in it that are in use. The guest writes the entries at
/// any time; an entry in use is marked so in the table, which keeps a well-behaved guest from ending it.
/// While it is in use, its grantee and its frame are those of the first use, whatever the entry says, as on
/// Xen (XSA-500).
///
/// It outlives its domain if a neighbour still uses a grant (GrantedPage).
///
/// Concurrency: any thread may call anything that takes no `Held`. The lock is held for a few loads and
/// stores. The list of frames grows with the domain's lock held, so whoever has that may read frames().
class GrantEntries {
 public:
  static constexpr std::uint32_t entries_per_frame = 512;

  GrantEntries(vmm::SharedFrameSource& source, std::uint32_t max_frames)
      : source_(source), max_(max_frames) {}

  [[nodiscard]] std::uint32_t max_frames() const { return max_; }
  [[nodiscard]] const std::vector<vmm::SharedFrame>& frames() const { return frames_; }
  /// At least `count` frames; ENOSPC above the maximum, otherwise the source's error.
  [[nodiscard]] Status grow(pvmmu::Held held, std::uint32_t count);

  /// The domain ends: drops all frames. No backend uses a grant any more. A neighbour may; its release()
  /// finds no entry, and does nothing.
  void drop();

  /// Takes the grant into use, marks it so in the table, and returns the frame of the granting domain that it
  /// names. The number is the guest's word: the caller has to check ownership and take its own reference.
  /// ERANGE if the table has no such entry; EPERM if nothing is granted to `grantee` there, or not for
  /// writing; EAGAIN if the guest keeps changing the entry. A copy that is the first to write a grant in use
  /// gets EPERM if the entry names another frame meanwhile.
  [[nodiscard]] tl::expected<Mfn, Errno> acquire(GrantRef ref, DomId grantee, GrantUse use,
                                                 GrantSpan span = GrantSpan::mapping);
  /// Once for each successful acquire, with the same `use`. The last one clears the mark.
  void release(GrantRef ref, GrantUse use);
  /// An entry that accepts a frame of `giver` (GTF_accept_transfer) is marked as committed to one, which no
  /// guest can undo; returns the frame's place in the receiving guest's memory, which stands in it. ERANGE if
  /// there is no such entry; EPERM if it accepts nothing of `giver`, or has a frame already; EAGAIN if the
  /// guest keeps changing it.
  [[nodiscard]] tl::expected<Pfn, Errno> commit_transfer(GrantRef ref, DomId giver);
  /// Would commit_transfer() succeed? The guest may change its mind meanwhile.
  [[nodiscard]] bool accepts_transfer(GrantRef ref, DomId giver);
  /// Once after each: `frame` is there.
  void complete_transfer(GrantRef ref, Mfn frame);
  /// Swaps two entries, neither in use; EINVAL, EBUSY. An entry and itself: nothing happens.
  [[nodiscard]] Status swap(GrantRef a, GrantRef b);

  /// The grants in use: of all frames, or of one. The lock is let go of between the frames of the table, so
  /// one that comes or ends meanwhile may or may not be among them.
  [[nodiscard]] std::vector<GrantInUse> in_use(Mfn frame = no_mfn);

 private:
  /// Uses of one entry under way: Xen's pin counts, and what it keeps of a pinned entry.
  struct Pins {
    std::uint32_t readers = 0;
    std::uint32_t writers = 0;
    Mfn frame = no_mfn;
    DomId grantee;
    [[nodiscard]] bool any() const { return readers != 0 || writers != 0; }
  };
  // These need the lock.
  [[nodiscard]] Status mark(GrantRef ref, DomId grantee, GrantUse use, GrantSpan span);
  [[nodiscard]] Mfn frame_in(GrantRef ref);
  [[nodiscard]] bool exists(GrantRef ref) const { return ref.raw() < pins_.size(); }
  /// On Xen a table has one frame from the start. Here the guest gets it when it first asks for its table,
  /// and until then the entries in it grant nothing.
  [[nodiscard]] bool is_empty_entry(GrantRef ref) const {
    return pins_.empty() && max_ != 0 && ref.raw() < entries_per_frame;
  }
  [[nodiscard]] static bool accepts(std::uint32_t head, DomId giver);
  [[nodiscard]] vmm::SharedPage& page_of(GrantRef ref);
  [[nodiscard]] static std::size_t offset_of(GrantRef ref);

  vmm::SharedFrameSource& source_;
  std::uint32_t max_;
  std::mutex mutex_;
  bool dropped_ = false;
  std::vector<vmm::SharedFrame> frames_;
  std::vector<Pins> pins_;  ///< By reference.
};

}  // namespace pinfold::devices
