// An image by its path: what can be wrong with a path, in one line that says what to do.
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <spdlog/fmt/fmt.h>
#include <cerrno>
#include <cstring>
#include <thread>

#include "devices/block/raw_image.hpp"

namespace pinfold::devices::block {
namespace {

using std::filesystem::path;

std::string user_name(uid_t id) {
  const passwd* entry = ::getpwuid(id);
  return entry ? entry->pw_name : std::to_string(id);
}

std::string group_name(gid_t id) {
  const group* entry = ::getgrgid(id);
  return entry ? entry->gr_name : std::to_string(id);
}

std::string owner_and_mode(const struct stat& is) {
  return fmt::format("belongs to {}:{}, mode {:04o}", user_name(is.st_uid), group_name(is.st_gid),
                     is.st_mode & 07777U);
}

// The first folder on the way to a file that can't be searched; empty: all can.
path closed_folder(const path& file) {
  path folder;
  const path whole = std::filesystem::absolute(file).parent_path();
  for (const path& part : whole) {
    folder /= part;
    if (::faccessat(AT_FDCWD, folder.c_str(), X_OK, AT_EACCESS) != 0 && errno == EACCES) return folder;
  }
  return {};
}

std::string no_rights(const path& file, bool read_only) {
  const std::string self = user_name(::geteuid());
  struct stat is;
  if (const path folder = closed_folder(file); !folder.empty()) {
    if (::stat(folder.c_str(), &is) != 0)
      return fmt::format("user {} may not enter {}", self, folder.string());
    return fmt::format("user {} may not enter {}, which {}; permit it with chmod or a group", self,
                       folder.string(), owner_and_mode(is));
  }
  if (::stat(file.c_str(), &is) != 0) return fmt::format("user {} has no rights to it", self);
  return fmt::format("user {} may not {} it: it {}; permit it with chmod or a group{}", self,
                     read_only ? "read" : "read and write", owner_and_mode(is),
                     read_only ? "" : ", or attach it read-only");
}

std::string missing(const path& file) {
  const path folder = std::filesystem::absolute(file).parent_path();
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) return fmt::format("there is no folder {}", folder.string());
  const std::string where = file.is_absolute() ? "" : fmt::format(" in {}", folder.string());
  return fmt::format("there is no such file{}; correct the path, or make an image with truncate -s 10G",
                     where);
}

std::string why_not_open(const path& file, bool read_only, int error) {
  switch (error) {
    case ENOENT: return missing(file);
    case EACCES: return no_rights(file, read_only);
    case EISDIR: return "a directory; a disk is an image file or a block device";
    case EROFS: return "it is on a read-only file system; attach it read-only, or copy it";
    case EPERM: return "it may not be written (immutable? see lsattr); attach it read-only";
    case EBUSY: return "the host uses it (mounted, or part of an array); unmount it, or attach it read-only";
    case ENXIO:
    case ENODEV: return "no device is behind it";
    default: return std::strerror(error);
  }
}

int flags_for(const path& file, bool read_only) {
  // Without O_NONBLOCK a pipe would be waited for.
  const int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  struct stat is;
  // O_EXCL without O_CREAT, for a block device: nobody on the host has it mounted (open(2)).
  const bool exclusive = !read_only && ::stat(file.c_str(), &is) == 0 && S_ISBLK(is.st_mode);
  return exclusive ? flags | O_EXCL : flags;
}

// The descriptor, or -1 with errno. A device that a program used which was killed is busy for some
// milliseconds.
int open_with_patience(const path& file, const RawImageOptions& options) {
  const auto end = std::chrono::steady_clock::now() + options.lock_patience;
  for (;;) {
    const int fd = ::open(file.c_str(), flags_for(file, options.read_only));
    if (fd >= 0 || errno != EBUSY || std::chrono::steady_clock::now() >= end) return fd;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

tl::expected<vmm::Fd, std::string> open_image_file(const path& file, const RawImageOptions& options) {
  vmm::Fd fd(open_with_patience(file, options));
  if (fd.open()) return fd;
  return tl::unexpected(
      fmt::format("disk {}: {}", file.string(), why_not_open(file, options.read_only, errno)));
}

tl::expected<OpenImage, std::string> open_raw_image(const path& file, const RawImageOptions& options) {
  auto fd = open_image_file(file, options);
  if (!fd) return tl::unexpected(fd.error());
  return adopt_raw_image(std::move(*fd), file.string(), options);
}

}  // namespace pinfold::devices::block
