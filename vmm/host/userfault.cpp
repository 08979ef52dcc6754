#include "vmm/host/userfault.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <cstdint>

namespace pinfold::vmm {
namespace {

// Since Linux 5.19, newer than some distributions' headers.
constexpr std::uint64_t feature_wp_hugetlbfs_shmem = 1U << 12;
constexpr int flag_user_mode_only = 1;

}  // namespace

std::optional<ProbeUserfault> ProbeUserfault::watch(std::byte* begin, std::size_t size, bool user_mode_only) {
  const int flags = O_CLOEXEC | O_NONBLOCK | (user_mode_only ? flag_user_mode_only : 0);
  Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, flags)));
  if (!fd.open()) return {};
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | feature_wp_hugetlbfs_shmem;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) return {};
  uffdio_register range{};
  range.range = {reinterpret_cast<std::uint64_t>(begin), size};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(fd.get(), UFFDIO_REGISTER, &range) != 0) return {};
  return ProbeUserfault(std::move(fd));
}

bool ProbeUserfault::protect(std::byte* page, bool read_only) const {
  uffdio_writeprotect request{};
  request.range = {reinterpret_cast<std::uint64_t>(page), 4096};
  request.mode = read_only ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  return ::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &request) == 0;
}

}  // namespace pinfold::vmm
