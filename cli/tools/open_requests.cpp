#include "cli/tools/open_requests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "cli/tools/asker_memory.hpp"

namespace pinfold::cli::tools {
namespace {

bool starts_with_any(std::string_view path, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(), [path](auto start) { return path.starts_with(start); });
}

tl::unexpected<std::string> cant_be_read(int error) {
  return tl::unexpected(fmt::format(
      "its requests can't be read: {}; see kernel.yama.ptrace_scope in sysctl(8)", std::strerror(error)));
}

tl::unexpected<std::string> cant_be_answered(int error) {
  return tl::unexpected(fmt::format("its requests can't be answered: {}", std::strerror(error)));
}

/// An ioctl(2) of the listener; -1 with errno. One that was interrupted did nothing and is made again: the
/// kernel takes back a descriptor that the asker has not received yet, and returns the number of one that it
/// has (kernel/seccomp.c, seccomp_notify_addfd). With SECCOMP_ADDFD_FLAG_SEND that would not hold: the kernel
/// counts the question as answered before the descriptor is received, and the asker's openat(2) returns 0.
int ask_listener(const vmm::Fd& questions, unsigned long request, void* argument) {
  for (;;) {
    const int result = ::ioctl(questions.get(), request, argument);
    if (result >= 0 || errno != EINTR) return result;
  }
}

/// ENOENT: it has ended. ESRCH: it ended, or was interrupted, while the descriptor was on its way.
bool asks_no_more(int error) { return error == ENOENT || error == ESRCH; }

/// The asker has this process's limit.
tl::unexpected<std::string> too_few_descriptors() {
  rlimit most{};
  (void)::getrlimit(RLIMIT_NOFILE, &most);
  return tl::unexpected(fmt::format("it needs more descriptors than `ulimit -n`, {}, permits; {} are enough",
                                    most.rlim_cur, first_served_descriptor + most_served_descriptors));
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

tl::expected<Opened, int> OpenRequests::open(const std::string& path, int flags) const {
  auto given = opener_(path, flags);
  if (given || given.error() != ENOENT) return given;
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0) return tl::unexpected(EACCES);
  // It may only hold it: getdents64(2) and lookups in it are answered by the filter.
  vmm::Fd opened =
      path == "/" ? vmm::Fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : open_library(path);
  if (!opened.open()) return tl::unexpected(ENOENT);
  return opened;
}

OpenRequests::Answered OpenRequests::send(seccomp_notif_resp answer) const {
  if (ask_listener(questions_, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && !asks_no_more(errno))
    return cant_be_answered(errno);
  return {};
}

OpenRequests::Answered OpenRequests::respond(const seccomp_notif& question, int error,
                                             std::int64_t result) const {
  seccomp_notif_resp answer{};
  answer.id = question.id;
  answer.error = -error;
  answer.val = result;
  return send(answer);
}

/// A wild pointer is its own mistake. That nothing can be reached at all is ours.
OpenRequests::Answered OpenRequests::respond_to_mistake(const seccomp_notif& question, int error) const {
  auto answered = respond(question, EFAULT);
  if (error == EFAULT || error == ENAMETOOLONG || error == ESRCH) return answered;
  return cant_be_read(error);
}

OpenRequests::Answered OpenRequests::answer_open(const seccomp_notif& question) {
  const auto path = read_text(asker_, question.data.args[1]);
  if (!path) return respond_to_mistake(question, path.error());
  const auto opened = open(*path, static_cast<int>(question.data.args[2]));
  if (!opened) return respond(question, opened.error());
  seccomp_notif_addfd gift{};
  gift.id = question.id;
  gift.newfd_flags = O_CLOEXEC;
  if (const auto* file = std::get_if<vmm::Fd>(&*opened)) {
    gift.srcfd = static_cast<std::uint32_t>(file->get());
  } else {
    const auto place = served_.open(*std::get<ServedFile*>(*opened));
    if (!place) return respond(question, place.error());
    gift.srcfd = static_cast<std::uint32_t>(place->descriptor);
    gift.newfd = static_cast<std::uint32_t>(place->number);
    gift.flags = SECCOMP_ADDFD_FLAG_SETFD;
  }
  const int number = ask_listener(questions_, SECCOMP_IOCTL_NOTIF_ADDFD, &gift);
  if (number >= 0) return respond(question, 0, number);
  const int error = errno;
  if (asks_no_more(error)) return {};
  (void)respond(question, error);  // what follows is the reason
  // EBADF: the number of a served file is above the limit.
  if (error == EBADF || error == EMFILE) return too_few_descriptors();
  return cant_be_answered(error);
}

OpenRequests::Answered OpenRequests::answer_read(const seccomp_notif& question) {
  const int number = static_cast<int>(question.data.args[0]);
  const auto got = served_.read(number, question.data.args[2]);
  if (!got) return respond(question, got.error());
  if (auto written = write_bytes(asker_, question.data.args[1], *got); !got->empty() && !written)
    return respond_to_mistake(question, written.error());
  served_.advance(number, got->size());
  return respond(question, 0, static_cast<std::int64_t>(got->size()));
}

OpenRequests::Answered OpenRequests::answer_close(const seccomp_notif& question) {
  served_.close(static_cast<int>(question.data.args[0]));
  seccomp_notif_resp answer{};
  answer.id = question.id;
  answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;  // the kernel closes what the program has
  return send(answer);
}

OpenRequests::Answered OpenRequests::answer_one() {
  seccomp_notif question{};
  if (::ioctl(questions_.get(), SECCOMP_IOCTL_NOTIF_RECV, &question) != 0) {
    if (errno == ENOENT || errno == EINTR) return {};  // it was killed meanwhile
    return cant_be_read(errno);
  }
  switch (question.data.nr) {
    case SYS_read: return answer_read(question);
    case SYS_close: return answer_close(question);
    default: return answer_open(question);
  }
}

}  // namespace pinfold::cli::tools
