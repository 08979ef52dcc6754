#include "devices/block/inspect.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "devices/block/block_device.hpp"
#include "devices/block/format_hint.hpp"

namespace pinfold::devices::block {
namespace {

struct Source {
  std::uint64_t bytes = 0;
  std::uint32_t logical = 512;
  std::uint32_t physical = 512;
  bool can_discard = false;
  std::uint32_t discard_granularity = 0;
};

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "of an unknown kind";
}

// Holes can be punched if one can be punched behind the file's end, where nothing is.
bool can_punch_holes(int fd, std::uint64_t bytes) {
  constexpr off_t hole = 4096;
  const auto behind = static_cast<off_t>((bytes + hole - 1) / hole * hole);
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, hole) == 0;
}

tl::expected<Source, std::string> source_of(int fd, bool read_only) {
  struct stat is;
  if (::fstat(fd, &is) != 0) return tl::unexpected(std::string(std::strerror(errno)));
  Source source;
  if (S_ISREG(is.st_mode)) {
    source.bytes = static_cast<std::uint64_t>(is.st_size);
    source.discard_granularity = static_cast<std::uint32_t>(is.st_blksize);
    source.can_discard = !read_only && can_punch_holes(fd, source.bytes);
    return source;
  }
  if (!S_ISBLK(is.st_mode))
    return tl::unexpected(std::string(kind_of(is.st_mode)) + "; a disk is an image file or a block device");
  const auto device = ask_block_device(fd);
  if (!device) return tl::unexpected(std::string("the device does not answer: ") + std::strerror(errno));
  source.bytes = device->bytes;
  source.logical = device->logical_sector_bytes;
  source.physical = device->physical_sector_bytes;
  source.can_discard = !read_only && device->can_discard;
  source.discard_granularity = device->physical_sector_bytes;
  return source;
}

// What direct I/O asks for; nullopt: the file system has none, or does not say.
std::optional<MemoryAlignment> direct_alignment(int fd) {
  struct statx is = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &is) != 0) return std::nullopt;
  if ((is.stx_mask & STATX_DIOALIGN) == 0 || is.stx_dio_mem_align == 0 || is.stx_dio_offset_align == 0)
    return std::nullopt;
  return MemoryAlignment{is.stx_dio_mem_align, is.stx_dio_offset_align};
}

bool set_flags(int fd, bool direct) {
  const int flags = ::fcntl(fd, F_GETFL);
  const int wanted = (flags & ~(O_APPEND | O_NONBLOCK | O_DIRECT)) | (direct ? O_DIRECT : 0);
  return flags >= 0 && (flags == wanted || ::fcntl(fd, F_SETFL, wanted) == 0);
}

bool permits(int fd, bool read_only) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_PATH) != 0) return false;
  const int access = flags & O_ACCMODE;
  return access == O_RDWR || (read_only && access == O_RDONLY);
}

// Turns direct I/O on; otherwise returns why it does not serve.
std::optional<std::string> use_direct_io(int fd, const Source& source, MemoryAlignment& alignment) {
  const auto wanted = direct_alignment(fd);
  if (!wanted) return "its file system has no direct I/O, or does not say what it needs";
  // The guest's sectors are as long as the source's; a guest that partitioned its disk can't change over.
  if (wanted->length > source.logical)
    return "direct I/O needs blocks of " + std::to_string(wanted->length) + " bytes here";
  if (!set_flags(fd, true)) return std::string("direct I/O is refused: ") + std::strerror(errno);
  alignment = *wanted;
  return std::nullopt;
}

// The guest writes the image: what is in it never decides anything.
std::optional<std::string> notice_about_format(int fd) {
  std::array<std::byte, format_hint_bytes> start;
  const ssize_t got = ::pread(fd, start.data(), start.size(), 0);
  if (got <= 0) return std::nullopt;
  const auto format = format_hint(std::span(start).first(static_cast<std::size_t>(got)));
  if (!format) return std::nullopt;
  return "begins like a " + *format + " file, but is used as a raw disk, as configured";
}

Geometry geometry_of(const Source& source, const RawImageOptions& options) {
  Geometry geometry;
  geometry.logical_sector_bytes = source.logical;
  geometry.physical_sector_bytes = source.physical;
  geometry.sectors = source.bytes / source.logical * (source.logical / sector_bytes);
  geometry.read_only = options.read_only;
  geometry.can_discard = options.discard && source.can_discard;
  geometry.discard_granularity = geometry.can_discard ? source.discard_granularity : 0;
  return geometry;
}

}  // namespace

tl::expected<Inspected, std::string> inspect(int fd, const std::string& name,
                                             const RawImageOptions& options) {
  const auto line = [&](const std::string& text) { return "disk " + name + ": " + text; };
  const auto source = source_of(fd, options.read_only);
  if (!source) return tl::unexpected(line(source.error()));
  if (!permits(fd, options.read_only))
    return tl::unexpected(line(options.read_only ? "its descriptor is not open for reading"
                                                 : "its descriptor is not open for reading and writing"));
  Inspected is;
  is.geometry = geometry_of(*source, options);
  if (is.geometry.sectors == 0)
    return tl::unexpected(line("it is empty; give it a size, for example with truncate -s 10G"));
  if (const auto rest = source->bytes % source->logical; rest != 0)
    is.notices.push_back(line("its size is no multiple of " + std::to_string(source->logical) +
                              "; its last " + std::to_string(rest) + " bytes are no part of the disk"));
  if (!set_flags(fd, false)) return tl::unexpected(line(std::strerror(errno)));
  if (const auto format = notice_about_format(fd)) is.notices.push_back(line(*format));
  if (options.direct_io) {
    if (const auto why_not = use_direct_io(fd, *source, is.alignment))
      is.notices.push_back(line(*why_not + "; the host's page cache is used instead"));
  }
  return is;
}

}  // namespace pinfold::devices::block
