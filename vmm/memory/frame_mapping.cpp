#include "vmm/memory/frame_mapping.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
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
  if (::ioctl(faults.get(), UFFDIO_REGISTER, &range) != 0) return failure("cannot watch the mapping");
  return faults;
}

}  // namespace

MemoryResult<FrameMapping> FrameMapping::create(const Machine& machine, MappingBudget::Share& share,
                                                WriteProtection how) {
  auto mapping = Mapping::of_file(machine.file(), machine.most_bytes(), Access::none);
  if (!mapping) return tl::unexpected(mapping.error());
  FrameMapping frames(share, std::move(*mapping), how);
  if (how == WriteProtection::userfaultfd) {
    auto faults = write_protection_over(frames.base(), frames.size());
    if (!faults) return tl::unexpected(faults.error());
    frames.faults_ = std::move(*faults);
  }
  return frames;
}

bool FrameMapping::set(Mfn first, Access access, std::uint64_t count) {
  const std::uint64_t begin = first.raw(), end = begin + count;
  const std::int64_t more = more_mappings(begin, count, access);
  if (!share_->change(more)) return false;
  ++changes_;
  if (!mapping_.set_access(begin * page_size, count * page_size, access)) {
    (void)share_->change(-more);
    return false;
  }
  if (end > access_.size()) access_.resize(end, Access::none);
  std::fill_n(access_.begin() + static_cast<std::ptrdiff_t>(begin), count, access);
  return true;
}

std::int64_t FrameMapping::more_mappings(std::uint64_t first, std::uint64_t count, Access to) const {
  const std::uint64_t end = first + count;
  std::int64_t more = 0;
  if (first > 0) more += (access_of(first - 1) != to) - (access_of(first - 1) != access_of(first));
  if (end < frames()) more += (access_of(end) != to) - (access_of(end - 1) != access_of(end));
  for (std::uint64_t frame = first + 1; frame < end; ++frame)
    more -= access_of(frame - 1) != access_of(frame);
  return more;
}

bool FrameMapping::write_protect(Mfn first, bool on, std::uint64_t count) {
  if (how_ == WriteProtection::mprotect) return set(first, on ? Access::read : Access::read_write, count);
  ++changes_;
  uffdio_writeprotect wp{};
  wp.range.start = reinterpret_cast<std::uint64_t>(mapping_.base()) + first.raw() * page_size;
  wp.range.len = count * page_size;
  wp.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  return ::ioctl(faults_.get(), UFFDIO_WRITEPROTECT, &wp) == 0;
}

}  // namespace pinfold::vmm
