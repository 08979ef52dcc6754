#include "cli/tools/tool_child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace pinfold::cli::tools {
namespace {

constexpr uid_t nobody = 65534;

struct Report {
  ChildStep step;
  int error;
};

/// With `gift` >= 0: a descriptor for the parent.
void report(int parent, const Report& what, int gift) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  Report copy = what;
  iovec piece{&copy, sizeof copy};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (gift >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof gift);
    std::memcpy(CMSG_DATA(header), &gift, sizeof gift);
  }
  (void)::sendmsg(parent, &message, MSG_NOSIGNAL);
}

bool become(uid_t user, gid_t group) {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(group, group, group) == 0 &&
         ::setresuid(user, user, user) == 0;
}

/// Root becomes nobody, if its parent can look at the memory of a process of another user; in a container it
/// often can't. No capability is left in any case.
bool drop_identity(const std::optional<sandbox::User>& wanted) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return false;
  const bool can_look = (sets[0].effective & (1U << CAP_SYS_PTRACE)) != 0,
             can_change = (sets[0].effective & (1U << CAP_SETUID)) != 0 &&
                          (sets[0].effective & (1U << CAP_SETGID)) != 0;
  if (wanted) {
    if (!become(wanted->user, wanted->group)) return false;
  } else if (::geteuid() == 0 && can_look && can_change && !become(nobody, nobody)) {
    return false;
  }
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  sets = {};
  header = {_LINUX_CAPABILITY_VERSION_3, 0};
  return ::syscall(SYS_capset, &header, sets.data()) == 0;
}

bool limit(const ToolBounds& bounds) {
  const auto set = [](auto resource, rlim_t most) {
    const rlimit both{most, most};
    return ::setrlimit(resource, &both) == 0;
  };
  return set(RLIMIT_CORE, 0) && (!bounds.output_bytes || set(RLIMIT_FSIZE, *bounds.output_bytes)) &&
         (!bounds.seconds || set(RLIMIT_CPU, *bounds.seconds)) && set(RLIMIT_AS, bounds.memory) &&
         set(RLIMIT_MEMLOCK, 0);
}

/// Input from a file or from nowhere, output to the two files, the socket that listens, and nothing else open
/// once the program runs.
bool arrange_descriptors(const ChildSetup& setup) {
  const int input = setup.input >= 0 ? setup.input : ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (input < 0 || ::dup2(input, STDIN_FILENO) < 0 || ::dup2(setup.output, STDOUT_FILENO) < 0 ||
      ::dup2(setup.words, STDERR_FILENO) < 0)
    return false;
  if (setup.listener < 0) return ::close_range(listener_number, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
  return ::dup3(setup.listener, listener_number, 0) >= 0 &&
         ::close_range(listener_number + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

}  // namespace

void become_tool(pid_t parent, const ChildSetup& setup) {
  const int to_parent = setup.descriptors.parent;
  const auto give_up = [to_parent](ChildStep step) {
    report(to_parent, {step, errno}, -1);
    ::_exit(1);
  };
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  if (!drop_identity(setup.user)) give_up(ChildStep::identity);
  // A change of identity clears it. The parent may have died before.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) give_up(ChildStep::identity);
  if (!arrange_descriptors(setup) || !limit(setup.bounds)) give_up(ChildStep::limits);
  const int questions = setup.filter.load();
  if (questions < 0) give_up(ChildStep::filter);
  report(to_parent, {ChildStep::execute, 0}, questions);
  char language[] = "LC_ALL=C", count[] = "LISTEN_FDS=1";
  std::array<char, 32> process{};
  (void)std::snprintf(process.data(), process.size(), "LISTEN_PID=%d", ::getpid());
  char* const environ_of_it[] = {language, setup.listener < 0 ? nullptr : count, process.data(), nullptr};
  ::syscall(SYS_execveat, setup.descriptors.program, "", setup.argv.data(), environ_of_it, AT_EMPTY_PATH);
  const char* const why = ::strerrordesc_np(errno);
  if (why != nullptr) (void)!::write(STDERR_FILENO, why, std::strlen(why));
  // Not _exit(): that of a sanitizer does more, which the filter refuses.
  ::syscall(SYS_exit_group, not_executed);
  __builtin_unreachable();
}

tl::expected<vmm::Fd, std::string> receive_questions(const vmm::Fd& child) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  Report said{ChildStep::identity, 0};
  iovec piece{&said, sizeof said};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  while ((got = ::recvmsg(child.get(), &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (got != sizeof said) return tl::unexpected(std::string("the process ended at once"));
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    int fd = -1;
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return vmm::Fd(fd);
  }
  constexpr std::array<const char*, 4> steps{"its identity", "its limits", "its seccomp filter",
                                             "the execution"};
  return tl::unexpected(fmt::format("{}: {}", steps[static_cast<std::size_t>(said.step) % steps.size()],
                                    std::strerror(said.error)));
}

}  // namespace pinfold::cli::tools
