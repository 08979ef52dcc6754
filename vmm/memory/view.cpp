#include "vmm/memory/view.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace pinfold::vmm {
namespace {

// linux/userfaultfd.h of Linux 5.19; older headers lack it.
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

/// A userfaultfd over [base, base + size) for write protection. It fails faults instead of reporting them, so
/// KVM_RUN returns EFAULT, as with mprotect.
MemoryResult<Fd> write_protection_over(std::byte* base, std::size_t size) {
  const auto failure = [](const char* what) {
    return tl::unexpected(MemoryError{std::string("userfaultfd: ") + what + ": " + std::strerror(errno)});
  };
  int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  if (fd < 0) return failure("not available");
  Fd faults(fd);
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
  if (::ioctl(faults.get(), UFFDIO_API, &api) != 0) return failure("no write protection of shared memory");
  uffdio_register range{};
  range.range.start = reinterpret_cast<std::uint64_t>(base);
  range.range.len = size;
  range.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(faults.get(), UFFDIO_REGISTER, &range) != 0) return failure("cannot watch the view");
  return faults;
}

}  // namespace

MemoryResult<std::unique_ptr<View>> View::create(const Machine& machine, WriteProtection how) {
  auto mapping = Mapping::of_file(machine.file(), machine.most_bytes(), Mapping::Access::none);
  if (!mapping) return tl::unexpected(mapping.error());
  std::unique_ptr<View> view(new View(machine, std::move(*mapping), how));
  if (how == WriteProtection::userfaultfd) {
    auto faults = write_protection_over(view->base(), view->size());
    if (!faults) return tl::unexpected(faults.error());
    view->faults_ = std::move(*faults);
  }
  return view;
}

bool View::protect(Mfn mfn) {
  return how_ == WriteProtection::userfaultfd ? write_protect(mfn, true) : set(mfn, Mapping::Access::read);
}

void View::unprotect(Mfn mfn) {
  // This fails only if there may be no more mappings. The frame then stays read-only although it
  // is data again. Isolation holds: the guest's next write to it ends the domain with a report.
  if (how_ == WriteProtection::userfaultfd)
    (void)write_protect(mfn, false);
  else
    (void)set(mfn, Mapping::Access::read_write);
}

void View::grant(Mfn first, std::uint64_t count) {
  // If this fails, the frames can't be accessed, and a guest that does ends with a report.
  (void)set(first, Mapping::Access::read_write, count);
}

void View::revoke(Mfn mfn) {
  // This fails if there may be no more mappings, as when a guest gives back every other frame.
  stuck_ = set(mfn, Mapping::Access::none) ? no_mfn : mfn;
  if (stuck_ == no_mfn && !closed_) machine_.discard(mfn, 1);
}

bool View::revoke_run(Mfn first, std::uint64_t count) {
  if (!set(first, Mapping::Access::none, count)) return false;
  if (!closed_) machine_.discard(first, count);
  return true;
}

/// By the access of the mapping, whichever way protects the domain's own frames: a page that is read-only so
/// is rare, and needs no mark in the host's page tables.
bool View::lend(Mfn mfn, pvmmu::Loan loan) {
  using Access = Mapping::Access;
  switch (loan) {
    case pvmmu::Loan::none: return set(mfn, Access::none);
    case pvmmu::Loan::read_only: return set(mfn, Access::read);
    case pvmmu::Loan::read_write: break;
  }
  return set(mfn, Access::read_write);
}

void View::fault_around(Mfn mfn) {
  const std::uint64_t part = mfn.raw() / fault_around_frames;
  if (mfn.raw() >= mapping_.size() / page_size) return;
  if (part >= brought_in_.size()) brought_in_.resize(part + 1);
  if (brought_in_[part]) return;
  brought_in_[part] = true;
  const std::size_t first = part * fault_around_frames * page_size;
  const std::size_t size = std::min(fault_around_frames * page_size, mapping_.size() - first);
  if (mapping_.populate(first, size)) return;
  // One of the frames is a table or not the domain's. Map the others one by one.
  for (std::size_t at = first; at < first + size; at += page_size) (void)mapping_.populate(at, page_size);
}

bool View::set(Mfn first, Mapping::Access access, std::uint64_t count) {
  if (closed_ || count == 0) return true;
  const std::uint64_t begin = first.raw(), end = begin + count;
  const std::int64_t more = more_mappings(begin, count, access);
  if (!share_.change(more)) return false;
  ++changes_;
  if (!mapping_.set_access(begin * page_size, count * page_size, access)) {
    (void)share_.change(-more);
    return false;
  }
  if (end > access_.size()) access_.resize(end, Mapping::Access::none);
  std::fill_n(access_.begin() + static_cast<std::ptrdiff_t>(begin), count, access);
  return true;
}

std::int64_t View::more_mappings(std::uint64_t first, std::uint64_t count, Mapping::Access to) const {
  const std::uint64_t end = first + count, last = mapping_.size() / page_size;
  std::int64_t more = 0;
  if (first > 0) more += (access(first - 1) != to) - (access(first - 1) != access(first));
  if (end < last) more += (access(end) != to) - (access(end - 1) != access(end));
  for (std::uint64_t frame = first + 1; frame < end; ++frame) more -= access(frame - 1) != access(frame);
  return more;
}

bool View::write_protect(Mfn mfn, bool on) {
  if (closed_) return true;
  ++changes_;
  uffdio_writeprotect wp{};
  wp.range.start = reinterpret_cast<std::uint64_t>(mapping_.base()) + mfn.raw() * page_size;
  wp.range.len = page_size;
  wp.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  return ::ioctl(faults_.get(), UFFDIO_WRITEPROTECT, &wp) == 0;
}

}  // namespace pinfold::vmm
