#include "devices/block/image_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "devices/block/block_device.hpp"
#include "devices/block/image_lock.hpp"

namespace pinfold::devices::block {

ImageFile::~ImageFile() { unlock_image(fd_.get()); }

tl::expected<std::uint64_t, std::string> ImageFile::grow(std::optional<std::uint64_t> bytes) {
  using Failed = tl::unexpected<std::string>;
  const std::uint64_t before = sectors_, sectors_each = geometry_.logical_sector_bytes / sector_bytes;
  struct stat is {};
  if (!ask_kind(fd_.get(), is)) return Failed(std::strerror(errno));
  auto now = bytes_of(fd_.get(), is);
  if (!now) return Failed(std::strerror(errno));
  if (bytes) {
    if (geometry_.read_only) return Failed("it is attached read-only");
    if (!S_ISREG(is.st_mode)) return Failed("it is a block device: resize that, and then give no size");
    if (*bytes % geometry_.logical_sector_bytes != 0)
      return Failed("its size is a multiple of " + std::to_string(geometry_.logical_sector_bytes) + " bytes");
    if (*bytes < *now) return Failed("it has " + std::to_string(*now) + " bytes, and is never made shorter");
    if (::ftruncate(fd_.get(), static_cast<off_t>(*bytes)) != 0) return Failed(std::strerror(errno));
    now = bytes;
  }
  const std::uint64_t sectors = *now / geometry_.logical_sector_bytes * sectors_each;
  if (sectors < before) return Failed("it is shorter than it was; the guest is not told");
  sectors_.store(sectors, std::memory_order_relaxed);
  return sectors;
}

}  // namespace pinfold::devices::block
