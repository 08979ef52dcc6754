#include "cli/supervisor/monitor_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
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

tl::expected<MonitorProcess, std::string> MonitorProcess::start(const std::vector<GuestHandover>& guests,
                                                                const sigset_t& mask) {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return failure("socketpair");
  MonitorProcess monitor;
  monitor.link_ = vmm::Fd(ends[0]);
  const vmm::Fd its_end(ends[1]);
  std::vector<vmm::Fd> files;
  std::vector<std::string> names;
  MonitorDescriptors descriptors{{}, its_end.get(), {}, {}, {}, {}};
  std::vector<int> kept{its_end.get()};
  for (const GuestHandover& guest : guests) {
    files.push_back(file_with(encode_options(guest.options)));
    if (!files.back().open()) return failure("memfd_create");
    names.push_back(guest.options.guest.name);
    descriptors.options.push_back(files.back().get());
    descriptors.sockets.insert(descriptors.sockets.end(), guest.sockets.begin(), guest.sockets.end());
    descriptors.debuggers.push_back(guest.debugger);
    const std::string separator = names.size() > 1 ? "+" : "";
    descriptors.networks += separator + text_of(guest.networks);
    descriptors.disks += separator + text_of(guest.disks);
    kept.push_back(files.back().get());
    for (const auto& numbers : {numbers_of(guest.networks), numbers_of(guest.disks)})
      kept.insert(kept.end(), numbers.begin(), numbers.end());
  }
  for (const auto* listeners : {&descriptors.sockets, &descriptors.debuggers})
    std::copy_if(listeners->begin(), listeners->end(), std::back_inserter(kept),
                 [](int fd) { return fd >= 0; });

  std::vector<std::string> words = monitor_words(fmt::format("{}", fmt::join(names, ",")), descriptors);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t parent = ::getpid();
  monitor.pid_ = ::fork();
  if (monitor.pid_ == 0) become_monitor(parent, mask, kept, argv);
  if (monitor.pid_ < 0) return failure("fork");
  return monitor;
}

std::vector<link::Message> MonitorProcess::read_link() {
  std::array<std::uint8_t, 64> bytes{};
  const ssize_t n = ::recv(link_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return {};
  if (n <= 0) {
    closed_ = true;
    return {};
  }
  read_.insert(read_.end(), bytes.begin(), bytes.begin() + n);
  std::vector<link::Message> messages;
  std::size_t used = 0;
  for (; used + 2 <= read_.size(); used += 2) messages.push_back({read_[used], read_[used + 1]});
  read_.erase(read_.begin(), read_.begin() + static_cast<std::ptrdiff_t>(used));
  // The first message says that the guests run; no intact monitor writes anything else before.
  if (!runs_ && !messages.empty()) {
    if (messages.front().guest == 0 && messages.front().word == link::runs)
      runs_ = true;
    else
      closed_ = true;
    messages.erase(messages.begin());
    if (closed_) messages.clear();
  }
  return messages;
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
