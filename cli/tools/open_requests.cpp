#include "cli/tools/open_requests.hpp"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <initializer_list>

namespace pinfold::cli::tools {
namespace {

bool starts_with_any(std::string_view path, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(), [path](auto start) { return path.starts_with(start); });
}

}  // namespace

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

OpenRequests::OpenRequests(vmm::Fd questions, pid_t asker, Opener opener)
    : questions_(std::move(questions)), asker_(asker), opener_(std::move(opener)) {}

tl::expected<vmm::Fd, int> OpenRequests::open(const std::string& path, int flags) const {
  auto given = opener_(path, flags);
  if (given || given.error() != ENOENT) return given;
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0) return tl::unexpected(EACCES);
  // It may only hold it: getdents64(2) and lookups in it are answered by the filter.
  vmm::Fd opened =
      path == "/" ? vmm::Fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : open_library(path);
  if (!opened.open()) return tl::unexpected(ENOENT);
  return opened;
}

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
  const auto opened = open(path, static_cast<int>(question.data.args[2]));
  if (!opened) return respond(opened.error());
  seccomp_notif_addfd gift{};
  gift.id = question.id;
  gift.flags = SECCOMP_ADDFD_FLAG_SEND;
  gift.srcfd = static_cast<std::uint32_t>(opened->get());
  gift.newfd_flags = O_CLOEXEC;
  if (::ioctl(questions_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &gift) < 0 && errno != ENOENT)
    return respond(errno);
  return true;
}

}  // namespace pinfold::cli::tools
