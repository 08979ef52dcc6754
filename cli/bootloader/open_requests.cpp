#include "cli/bootloader/open_requests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <initializer_list>

namespace pinfold::cli::bootloader {
namespace {

bool starts_with_any(std::string_view path, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(), [path](auto start) { return path.starts_with(start); });
}

}  // namespace

std::string path_of_disk(std::size_t index) { return fmt::format("/disk{}", index); }

vmm::Fd open_library(std::string_view path) {
  const bool is_library = starts_with_any(path, {"/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"}) &&
                          path.find(".so") != std::string_view::npos;
  if ((!is_library && path != "/etc/ld.so.cache") || path.find("/..") != std::string_view::npos) return {};
  vmm::Fd file(::open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat facts {};
  if (!file.open() || ::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode) ||
      (facts.st_mode & S_IROTH) == 0)
    return {};
  return file;
}

OpenRequests::OpenRequests(vmm::Fd questions, pid_t asker, std::span<const vmm::Fd> disks)
    : questions_(std::move(questions)), asker_(asker), disks_(disks) {}

bool OpenRequests::read_path(std::uint64_t address, std::string& path) const {
  // To the end of a page at a time: what follows it may not be mapped.
  constexpr std::uint64_t page = 4096;
  path.clear();
  while (path.size() < PATH_MAX) {
    std::array<char, page> piece{};
    const std::uint64_t length = page - address % page;
    const iovec here{piece.data(), length};
    const iovec there{reinterpret_cast<void*>(address), length};  // of the other process
    const auto got = ::process_vm_readv(asker_, &here, 1, &there, 1, 0);
    if (got <= 0) return false;
    const std::string_view text(piece.data(), static_cast<std::size_t>(got));
    path += text.substr(0, text.find('\0'));
    if (text.find('\0') != std::string_view::npos) return true;
    address += length;
  }
  errno = ENAMETOOLONG;
  return false;
}

bool OpenRequests::answer_one() {
  seccomp_notif question{};
  if (::ioctl(questions_.get(), SECCOMP_IOCTL_NOTIF_RECV, &question) != 0)
    return errno == ENOENT || errno == EINTR;  // it was killed meanwhile
  const auto respond = [&](int error) {
    seccomp_notif_resp answer{};
    answer.id = question.id;
    answer.error = -error;
    (void)::ioctl(questions_.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
    return true;
  };
  std::string path;
  if (!read_path(question.data.args[1], path)) {
    // A wild pointer is its own mistake. That nothing can be read at all is ours.
    const int error = errno;
    respond(EFAULT);
    errno = error;
    return error == EFAULT || error == ENAMETOOLONG || error == ESRCH;
  }
  if ((question.data.args[2] & O_ACCMODE) != O_RDONLY || (question.data.args[2] & O_CREAT) != 0)
    return respond(EACCES);
  vmm::Fd opened;
  int source = -1;
  for (std::size_t i = 0; i < disks_.size(); ++i)
    if (path == path_of_disk(i)) source = disks_[i].get();
  if (source < 0) {
    // It may only hold it: getdents64(2) and lookups in it are answered by the filter.
    opened = path == "/" ? vmm::Fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : open_library(path);
    source = opened.get();
  }
  if (source < 0) return respond(ENOENT);
  seccomp_notif_addfd gift{};
  gift.id = question.id;
  gift.flags = SECCOMP_ADDFD_FLAG_SEND;
  gift.srcfd = static_cast<std::uint32_t>(source);
  gift.newfd_flags = O_CLOEXEC;
  if (::ioctl(questions_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &gift) < 0 && errno != ENOENT)
    return respond(errno);
  return true;
}

}  // namespace pinfold::cli::bootloader
