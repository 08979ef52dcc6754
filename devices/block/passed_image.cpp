#include "devices/block/passed_image.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "devices/block/block_device.hpp"
#include "devices/block/image_lock.hpp"

namespace pinfold::devices::block {
namespace {

class ReservedImage final : public Image {
 public:
  ReservedImage(PassedImage passed, std::shared_ptr<TransferReserve> reserve)
      : tie_(std::move(passed.tie)),
        file_(std::move(passed.fd), std::move(passed.name), passed.geometry, passed.alignment),
        reserve_(std::move(reserve)) {}
  [[nodiscard]] Geometry geometry() const override { return file_.geometry(); }
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes) override {
    return file_.grow(bytes);
  }
  [[nodiscard]] tl::expected<std::unique_ptr<TransferQueue>, std::string> make_queue(
      std::size_t depth) override {
    return reserve_->queue_for(file_, depth);
  }

 private:
  vmm::Fd tie_;
  ImageFile file_;
  std::shared_ptr<TransferReserve> reserve_;
};

const char* error_in_descriptor(int fd, const struct stat& is, bool read_only) {
  if (!S_ISREG(is.st_mode) && !S_ISBLK(is.st_mode)) return "a disk is an image file or a block device";
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_PATH) != 0) return "its descriptor is not open";
  // A write would go to the file's end.
  if ((flags & O_APPEND) != 0) return "its descriptor appends";
  const int access = flags & O_ACCMODE;
  if (access != O_RDWR && !(read_only && access == O_RDONLY))
    return read_only ? "its descriptor is not open for reading"
                     : "its descriptor is not open for reading and writing";
  return nullptr;
}

bool is_block(std::uint64_t bytes, std::uint64_t least, std::uint64_t most) {
  return std::has_single_bit(bytes) && bytes >= least && bytes <= most;
}

const char* error_in_geometry(const PassedImage& passed, std::uint64_t bytes) {
  constexpr std::uint64_t most_sector = 1ULL << 16, most_block = 1ULL << 30;
  const Geometry& g = passed.geometry;
  const MemoryAlignment& a = passed.alignment;
  if (!is_block(g.logical_sector_bytes, sector_bytes, most_sector) ||
      !is_block(g.physical_sector_bytes, sector_bytes, most_block) || !is_block(a.address, 1, most_sector) ||
      !is_block(a.length, 1, most_sector) || g.sectors % (g.logical_sector_bytes / sector_bytes) != 0)
    return "no disk has such sectors";
  if (g.sectors == 0 || g.sectors > bytes / sector_bytes) return "it is shorter than it is said to be";
  return nullptr;
}

}  // namespace

tl::expected<std::unique_ptr<Image>, std::string> take_over_image(PassedImage passed,
                                                                  std::shared_ptr<TransferReserve> reserve) {
  const auto failed = [&name = passed.name](const std::string& why) {
    return tl::unexpected("disk " + name + ": " + why);
  };
  const int fd = passed.fd.get();
  struct stat is {};
  if (!ask_kind(fd, is)) return failed(std::strerror(errno));
  if (const char* error = error_in_descriptor(fd, is, passed.geometry.read_only)) return failed(error);
  const auto bytes = bytes_of(fd, is);
  if (!bytes) return failed(std::strerror(errno));
  if (const char* error = error_in_geometry(passed, *bytes)) return failed(error);
  if (lock_image(fd, passed.geometry.read_only, {}) == LockResult::held_by_another)
    return failed("locked by another program");
  return std::make_unique<ReservedImage>(std::move(passed), std::move(reserve));
}

}  // namespace pinfold::devices::block
