#include "devices/block/image_file.hpp"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "devices/block/block_device.hpp"
#include "devices/block/image_lock.hpp"

namespace pinfold::devices::block {
namespace {

using Failed = tl::unexpected<std::string>;

/// What the image is: a regular file, or a block device.
tl::expected<bool, std::string> is_regular(int fd, std::uint64_t& bytes) {
  // Not the C library's fstat(2), which may be a call that takes a path, too: a monitor must not make it.
  struct stat is {};
  if (::syscall(SYS_fstat, fd, &is) != 0) return Failed(std::strerror(errno));
  bytes = static_cast<std::uint64_t>(is.st_size);
  if (S_ISREG(is.st_mode)) return true;
  const auto of_device = device_bytes(fd);
  if (!of_device) return Failed(std::strerror(errno));
  bytes = *of_device;
  return false;
}

}  // namespace

ImageFile::~ImageFile() { unlock_image(fd_.get()); }

tl::expected<std::uint64_t, std::string> ImageFile::grow(std::optional<std::uint64_t> bytes) {
  const std::uint64_t before = sectors_, sectors_each = geometry_.logical_sector_bytes / sector_bytes;
  std::uint64_t now = 0;
  const auto regular = is_regular(fd_.get(), now);
  if (!regular) return Failed(regular.error());
  if (bytes) {
    if (geometry_.read_only) return Failed("it is attached read-only");
    if (!*regular) return Failed("it is a block device: resize that, and then give no size");
    if (*bytes % geometry_.logical_sector_bytes != 0)
      return Failed("its size is a multiple of " + std::to_string(geometry_.logical_sector_bytes) + " bytes");
    if (*bytes < now) return Failed("it has " + std::to_string(now) + " bytes, and is never made shorter");
    if (::ftruncate(fd_.get(), static_cast<off_t>(*bytes)) != 0) return Failed(std::strerror(errno));
    now = *bytes;
  }
  const std::uint64_t sectors = now / geometry_.logical_sector_bytes * sectors_each;
  if (sectors < before) return Failed("it is shorter than it was; the guest is not told");
  sectors_.store(sectors, std::memory_order_relaxed);
  return sectors;
}

}  // namespace pinfold::devices::block
