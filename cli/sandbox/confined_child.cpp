#include "sandbox/confined_child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "sandbox/helper.hpp"
#include "sandbox/host_support.hpp"
#include "sandbox/privileges.hpp"

namespace pinfold::sandbox {
namespace {

constexpr int pipe_bytes = 1 << 20;
constexpr int could_not_be_confined = 126, exit_monitor_failed = 7;  // cli/exit_codes.hpp

bool limit(int what, rlim_t to) {
  const rlimit bound{to, to};
  return ::setrlimit(static_cast<__rlimit_resource>(what), &bound) == 0;
}

bool limit_to(const ChildBounds& bounds) {
  if (confines_nothing()) return true;  // A sanitizer's shadow is address space, too.
  return limit(RLIMIT_CPU, static_cast<rlim_t>(bounds.processor_time.count())) &&
         limit(RLIMIT_AS, bounds.address_space) && limit(RLIMIT_CORE, 0);
}

/// Without Landlock the filter still refuses every call that takes a path; the monitor says that it is
/// missing.
bool confine(Mode mode) {
  const bool may_lack_landlock = host_support().landlock_version == 0;
  return confine_helper(Helper::unpacker, mode) || may_lack_landlock;
}

/// From fork(2) on. What a signal of the user's does is the parent's affair, whose end is this one's.
[[noreturn]] void be_child(pid_t parent, Mode mode, const ChildBounds& bounds, int to_parent,
                           const std::function<void(int)>& work) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent || !close_all_but(to_parent) ||
      !limit_to(bounds) || !confine(mode))
    ::_exit(could_not_be_confined);
  work(to_parent);
  ::_exit(0);
}

std::string words_for(int status) {
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGXCPU) return "it took too long";
    if (WTERMSIG(status) == SIGKILL) return "it took too long, or somebody killed it";
    return fmt::format("it was ended by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  }
  if (WEXITSTATUS(status) == exit_monitor_failed) return "its sandbox refused a system call";
  if (WEXITSTATUS(status) == could_not_be_confined) return "it could not be confined";
  return "it ended by itself";
}

}  // namespace

tl::expected<ConfinedChild, std::string> ConfinedChild::start(Mode mode, const ChildBounds& bounds,
                                                              const std::function<void(int)>& work) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return tl::unexpected(std::string("the host gives no pipe: ") + std::strerror(errno));
  ConfinedChild child;
  child.from_child_ = vmm::Fd(ends[0]);
  const vmm::Fd to_parent(ends[1]);
  (void)::fcntl(to_parent.get(), F_SETPIPE_SZ, pipe_bytes);  // fewer turns; a user may have no more room
  const pid_t parent = ::getpid();
  child.pid_ = ::fork();
  if (child.pid_ == 0) be_child(parent, mode, bounds, to_parent.get(), work);
  if (child.pid_ < 0)
    return tl::unexpected(std::string("the host gives no process: ") + std::strerror(errno));
  return child;
}

ConfinedChild::ConfinedChild(ConfinedChild&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), from_child_(std::move(other.from_child_)) {}

ConfinedChild::~ConfinedChild() {
  if (pid_ > 0) (void)end();
}

std::string ConfinedChild::end() {
  ::kill(pid_, SIGKILL);
  int status = 0;
  pid_t ended = -1;
  while ((ended = ::waitpid(pid_, &status, 0)) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return ended < 0 ? "it ended" : words_for(status);
}

}  // namespace pinfold::sandbox
