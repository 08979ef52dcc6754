// A frame that a guest has granted, while a backend uses it.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "devices/grant_entries.hpp"
#include "devices/xen_abi.hpp"
#include "vmm/for_devices/frame_holder.hpp"

namespace pinfold::devices {

/// One use of one grant. While it lasts, the grant is marked in use in the guest's table (GTF_reading, and
/// GTF_writing for a use that writes), and the frame that it named when the use began is held as data of the
/// guest's. Then nothing else can become of the frame, whatever the guest does to the table. The end of the
/// use drops the hold, and then clears the mark. So a guest that sees the mark gone can use the frame for
/// anything.
///
/// Any number of uses of one grant, or of one frame, can overlap.
///
/// Concurrency: used by one thread at a time; any thread may end it.
class GrantedPage {
 public:
  GrantedPage() = default;
  GrantedPage(GrantedPage&& other) noexcept { *this = std::move(other); }
  GrantedPage& operator=(GrantedPage&& other) noexcept;
  GrantedPage(const GrantedPage&) = delete;
  GrantedPage& operator=(const GrantedPage&) = delete;
  ~GrantedPage() { end(); }

  [[nodiscard]] bool present() const { return entries_ != nullptr; }
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
  friend class GrantAccess;
  GrantedPage(GrantEntries& entries, GrantRef ref, GrantUse use, vmm::SharedPage page)
      : entries_(&entries), ref_(ref), use_(use), page_(std::move(page)) {}
  void end();

  GrantEntries* entries_ = nullptr;
  GrantRef ref_;
  GrantUse use_ = GrantUse::read;
  vmm::SharedPage page_;
};

/// One backend thread's way to what a guest has granted to the monitor's domain.
///
/// Concurrency: used by one thread at a time, which must not have the domain's lock. Ended before the guest's
/// domain is torn down and before its grant table is detached.
class GrantAccess {
 public:
  GrantAccess(GrantEntries& entries, std::unique_ptr<vmm::FrameHolder> frames)
      : entries_(&entries), frames_(std::move(frames)) {}

  /// Begins a use. EINVAL if there is no such grant, or if it names a frame that is not the guest's, a page
  /// table or a descriptor page; EPERM if it is another domain's or, for writing, read-only; EAGAIN if the
  /// guest changes the entry at the same time.
  ///
  /// Unlike Xen, a use for reading does not get at page tables and descriptor pages either: the frame is held
  /// as data in any case.
  [[nodiscard]] tl::expected<GrantedPage, Errno> use(GrantRef ref, GrantUse use);
  /// Releases the frames of uses that have ended. Until then, or until the guest's next hypercall, they can't
  /// become page tables.
  void settle() { frames_->settle(); }

 private:
  GrantEntries* entries_;
  std::unique_ptr<vmm::FrameHolder> frames_;
};

}  // namespace pinfold::devices
