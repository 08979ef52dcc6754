#include "cli/sandbox/confined_child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

namespace pinfold::sandbox {
namespace {

constexpr int could_not_be_confined = 126;

bool limit(int what, rlim_t to) {
  const rlimit bound{to, to};
  return ::setrlimit(static_cast<__rlimit_resource>(what), &bound) == 0;
}

bool limit_to(const ChildBounds& bounds) {
  return limit(RLIMIT_CPU, static_cast<rlim_t>(bounds.processor_time.count())) &&
         limit(RLIMIT_AS, bounds.address_space) && limit(RLIMIT_FSIZE, bounds.file_bytes) &&
         limit(RLIMIT_CORE, 0);
}

bool close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  unsigned next = 0;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > next && ::close_range(next, number - 1, 0) != 0) return false;
    next = number + 1;
  }
  return ::close_range(next, ~0U, 0) == 0;
}

/// From fork(2) on. What a signal of the user's does is the parent's affair, whose end is this one's.
[[noreturn]] void be_child(pid_t parent, const ChildBounds& bounds, std::vector<int> kept, int to_parent,
                           const std::function<void(int)>& work) {
  kept.push_back(to_parent);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent || !close_all_but(std::move(kept)) ||
      !limit_to(bounds))
    ::_exit(could_not_be_confined);
  work(to_parent);
  ::_exit(0);
}

std::string words_for(int status) {
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGSYS) return "its sandbox refused a system call";
    if (WTERMSIG(status) == SIGXCPU) return "it took too long";
    if (WTERMSIG(status) == SIGKILL) return "it took too long, or somebody killed it";
    return fmt::format("it was ended by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  }
  if (WEXITSTATUS(status) == could_not_be_confined) return "it could not be confined";
  return "it ended by itself";
}

}  // namespace

tl::expected<ConfinedChild, std::string> ConfinedChild::start(const ChildBounds& bounds,
                                                              std::span<const int> kept,
                                                              const std::function<void(int)>& work) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return tl::unexpected(std::string("the host gives no pipe: ") + std::strerror(errno));
  ConfinedChild child;
  child.from_child_ = vmm::Fd(ends[0]);
  const vmm::Fd to_parent(ends[1]);
  const pid_t parent = ::getpid();
  child.pid_ = ::fork();
  if (child.pid_ == 0) be_child(parent, bounds, {kept.begin(), kept.end()}, to_parent.get(), work);
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
