#include "loader/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

namespace pinfold::loader {
namespace {

Loaded<void> check(const struct stat& info, std::size_t limit) {
  if (S_ISDIR(info.st_mode)) return refuse("is a directory, not a file");
  if (!S_ISREG(info.st_mode)) return refuse("is not a regular file");
  if (info.st_size <= 0) return refuse("the file is empty");
  if (static_cast<std::uint64_t>(info.st_size) > limit)
    return refuse("the file is larger than " + std::to_string(limit >> 20) + " MiB");
  return {};
}

}  // namespace

Loaded<RegularFile> RegularFile::open(const std::filesystem::path& path, std::size_t limit) {
  // Looked at before it is opened, since opening a device can have effects; and again after, since the name
  // may have come to mean another file. O_NONBLOCK: a fifo put there in between must not stop us.
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return refuse(std::strerror(errno));
  if (auto fine = check(info, limit); !fine) return tl::unexpected(fine.error());
  RegularFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.fd_ < 0 || ::fstat(file.fd_, &info) != 0) return refuse(std::strerror(errno));
  if (auto fine = check(info, limit); !fine) return tl::unexpected(fine.error());
  file.size_ = static_cast<std::size_t>(info.st_size);
  return file;
}

RegularFile::~RegularFile() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace pinfold::loader
