// A frame that a guest has granted, while a backend uses it.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "devices/grant_entries.hpp"
#include "devices/xen_abi.hpp"
#include "vmm/for_devices/frame_holder.hpp"

namespace pinfold::devices {

/// One use of one grant. While it lasts, the grant is marked in use in the guest's table (GTF_reading, and
/// GTF_writing for a use that writes), and the frame that it named when it came into use is held. So it stays
/// the guest's, and one that may be written stays data, whatever the guest does to the table. The end of the
/// use drops the hold, and then clears the mark. So a guest that sees the mark gone can use the frame for
/// anything.
///
/// Any number of uses of one grant, or of one frame, can overlap. Backends of the monitor use grants in this
/// way, and so do guests that map them (Maptrack) or copy to and from them.
///
/// Concurrency: used by one thread at a time; any thread may end it.
class GrantedPage {
 public:
  GrantedPage() = default;
  GrantedPage(GrantedPage&& other) noexcept = default;
  GrantedPage& operator=(GrantedPage&& other) noexcept;
  GrantedPage(const GrantedPage&) = delete;
  GrantedPage& operator=(const GrantedPage&) = delete;
  ~GrantedPage() { end(); }

  /// Begins a use of a grant to `grantee`. `hold` holds a frame of the granting guest. The errors are those
  /// of GrantEntries::acquire() and of `hold`.
  using Hold = std::function<tl::expected<vmm::SharedPage, Errno>(Mfn, GrantUse)>;
  [[nodiscard]] static tl::expected<GrantedPage, Errno> begin(std::shared_ptr<GrantEntries> entries,
                                                              GrantRef ref, DomId grantee, GrantUse use,
                                                              const Hold& hold,
                                                              GrantSpan span = GrantSpan::mapping);

  [[nodiscard]] bool present() const { return entries_ != nullptr; }
  [[nodiscard]] Mfn frame() const { return frame_; }
  [[nodiscard]] GrantRef ref() const { return ref_; }
  [[nodiscard]] GrantUse use() const { return use_; }
  /// The page, which may be written if this is a use for writing. A copy of it outlives the mark.
  [[nodiscard]] const vmm::SharedPage& page() const { return page_; }
  /// A copy of a part of the page.
  void copy_out(std::size_t offset, std::span<std::byte> to) const { page_.copy_out(offset, to); }
  /// For a ring: access to the page, which needs a use for writing and ends with it.
  [[nodiscard]] vmm::SharedPage& shared();
  /// For a transfer by the host's kernel: it writes the area if this is a use for writing, and only reads it
  /// otherwise. The use must last until the transfer is done. Nothing if the hold has failed.
  [[nodiscard]] std::optional<iovec> area(std::size_t offset, std::size_t size) const {
    return page_.transfer_area(offset, size, use_ == GrantUse::write);
  }

 private:
  GrantedPage(std::shared_ptr<GrantEntries> entries, GrantRef ref, GrantUse use, Mfn frame,
              vmm::SharedPage page)
      : entries_(std::move(entries)), ref_(ref), use_(use), frame_(frame), page_(std::move(page)) {}
  void end();

  std::shared_ptr<GrantEntries> entries_;  ///< A neighbour's may be dropped before, with its domain.
  GrantRef ref_;
  GrantUse use_ = GrantUse::read;
  Mfn frame_ = no_mfn;
  vmm::SharedPage page_;
};

/// One backend thread's way to what a guest has granted to the monitor's domain.
///
/// Concurrency: used by one thread at a time, which must not have the domain's lock. Ended before the guest's
/// domain is torn down and before its grant table is detached.
class GrantAccess {
 public:
  /// The entries outlive all uses: so they are not counted.
  GrantAccess(GrantEntries& entries, std::unique_ptr<vmm::FrameHolder> frames)
      : entries_(std::shared_ptr<void>(), &entries), frames_(std::move(frames)) {}

  /// Begins a use. ERANGE if the table has no such entry; EPERM if nothing is granted to the monitor's domain
  /// there, or not for writing; EAGAIN if the guest changes the entry at the same time; EINVAL if it names a
  /// frame that is not the guest's; EBUSY if that is to be written and is a page table or a descriptor page.
  [[nodiscard]] tl::expected<GrantedPage, Errno> use(GrantRef ref, GrantUse use);
  /// Releases the frames of uses that have ended. Until then, or until the guest's next hypercall, they can't
  /// become page tables.
  void settle() { frames_->settle(); }

 private:
  std::shared_ptr<GrantEntries> entries_;
  std::unique_ptr<vmm::FrameHolder> frames_;
};

}  // namespace pinfold::devices
