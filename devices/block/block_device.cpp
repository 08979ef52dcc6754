#include "devices/block/block_device.hpp"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace pinfold::devices::block {
namespace {

// The kernel says whether a device discards at all before it looks at the range: this one, which begins
// inside a sector, is always refused (EINVAL), but by a device that can't discard with EOPNOTSUPP.
bool can_discard(int fd) {
  std::uint64_t no_range[2] = {1, 512};
  return ::ioctl(fd, BLKDISCARD, no_range) != 0 && errno == EINVAL;
}

}  // namespace

bool ask_kind(int fd, struct stat& is) { return ::syscall(SYS_fstat, fd, &is) == 0; }

std::optional<std::uint64_t> bytes_of(int fd, const struct stat& is) {
  if (S_ISREG(is.st_mode)) return static_cast<std::uint64_t>(is.st_size);
  return device_bytes(fd);
}

std::optional<std::uint64_t> device_bytes(int fd) {
  std::uint64_t bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0) return std::nullopt;
  return bytes;
}

std::optional<BlockDevice> ask_block_device(int fd) {
  BlockDevice device;
  int logical = 0;
  unsigned physical = 0;
  if (::ioctl(fd, BLKGETSIZE64, &device.bytes) != 0 || ::ioctl(fd, BLKSSZGET, &logical) != 0 ||
      ::ioctl(fd, BLKPBSZGET, &physical) != 0)
    return std::nullopt;
  if (logical < 512) return std::nullopt;
  device.logical_sector_bytes = static_cast<std::uint32_t>(logical);
  device.physical_sector_bytes = physical;
  device.can_discard = can_discard(fd);
  return device;
}

}  // namespace pinfold::devices::block
