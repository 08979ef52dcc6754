#include "cli/supervisor/monitor_process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <vector>

#include "cli/supervisor/handover.hpp"
#include "cli/supervisor/link.hpp"
#include "cli/supervisor/monitor.hpp"

namespace pinfold::cli {
namespace {

constexpr const char* this_program = "/proc/self/exe";
constexpr int could_not_execute = 127;

/// In the child: from here on only what is safe after fork(2). `kept` stay open in the new program.
[[noreturn]] void become_monitor(pid_t parent, const sigset_t& mask, const std::vector<int>& kept,
                                 const std::vector<char*>& words) {
  // The parent may have died before the prctl, and then sends no signal.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(could_not_execute);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  for (const int fd : kept) ::fcntl(fd, F_SETFD, 0);
  ::execv(this_program, words.data());
  ::_exit(could_not_execute);
}

tl::unexpected<std::string> failure(const char* what) {
  return tl::unexpected(std::string("the guest's monitor can't be started: ") + what + ": " +
                        std::strerror(errno));
}

}  // namespace

tl::expected<MonitorProcess, std::string> MonitorProcess::start(const RunOptions& options,
                                                                const Inheritance& inherited,
                                                                const sigset_t& mask) {
  const vmm::Fd file = file_with(encode_options(options));
  if (!file.open()) return failure("memfd_create");
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return failure("socketpair");
  MonitorProcess monitor;
  monitor.link_ = vmm::Fd(ends[0]);
  const vmm::Fd its_end(ends[1]);

  std::vector<std::string> words =
      monitor_words(options.guest.name, {file.get(),
                                         its_end.get(),
                                         {inherited.sockets.begin(), inherited.sockets.end()},
                                         inherited.debugger,
                                         text_of(inherited.networks),
                                         text_of(inherited.disks)});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<int> kept{file.get(), its_end.get()};
  if (inherited.debugger >= 0) kept.push_back(inherited.debugger);
  std::copy_if(inherited.sockets.begin(), inherited.sockets.end(), std::back_inserter(kept),
               [](int fd) { return fd >= 0; });
  for (const auto& numbers : {numbers_of(inherited.networks), numbers_of(inherited.disks)})
    kept.insert(kept.end(), numbers.begin(), numbers.end());

  const pid_t parent = ::getpid();
  monitor.pid_ = ::fork();
  if (monitor.pid_ == 0) become_monitor(parent, mask, kept, argv);
  if (monitor.pid_ < 0) return failure("fork");
  return monitor;
}

void MonitorProcess::read_link() {
  char byte = 0;
  const ssize_t n = ::read(link_.get(), &byte, 1);
  if (n < 0 && errno == EINTR) return;
  const bool first = !runs_;
  if (n == 1 && first && byte == link::runs) {
    runs_ = true;
    return;
  }
  if (n == 1 && !first) preserved_ = link::preserved_end(byte);
  // Anything else is the end of the file, or what no intact monitor writes.
  if (!preserved_) link_ = vmm::Fd();
}

void MonitorProcess::say_renamed() const {
  (void)::send(link_.get(), &link::renamed, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void MonitorProcess::ask_to_leave() {
  if (link_.open()) (void)::send(link_.get(), &link::leave, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  // It does not look at the link before the guest runs. Until then the signal ends it.
  if (!runs_) ::kill(pid_, SIGTERM);
}

std::optional<int> MonitorProcess::ended() {
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  return status;
}

int MonitorProcess::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace pinfold::cli
