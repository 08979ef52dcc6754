#include "cli/run/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

namespace pinfold::cli {
namespace {

constexpr std::byte leave_key{0x1d};  // Ctrl-]

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

}  // namespace

TerminalInput::TerminalInput(std::function<std::size_t(std::span<const std::byte>)> on_bytes,
                             std::function<void()> on_leave)
    : on_bytes_(std::move(on_bytes)), on_leave_(std::move(on_leave)) {
  if (::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios raw = before_;
    ::cfmakeraw(&raw);
    raw_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  const sigset_t ends = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &ends, &signals_before_);
  signals_ = ::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  if (::pipe2(wake_, O_CLOEXEC) == 0) thread_ = std::thread([this] { loop(); });
}

TerminalInput::~TerminalInput() {
  if (thread_.joinable()) {
    const char stop = 0;
    while (::write(wake_[1], &stop, 1) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  for (const int fd : {wake_[0], wake_[1], signals_})
    if (fd >= 0) ::close(fd);
  if (raw_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  ::pthread_sigmask(SIG_SETMASK, &signals_before_, nullptr);
}

/// A signal that asks for the end: the first is answered; the next one, which this thread alone takes, does
/// what it does by default.
bool TerminalInput::ended_by_signal() {
  signalfd_siginfo signal{};
  if (::read(signals_, &signal, sizeof signal) != sizeof signal) return false;
  if (raw_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  const sigset_t ends = ending_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  on_leave_();
  pollfd wake{wake_[0], POLLIN, 0};
  while (::poll(&wake, 1, -1) < 0 && errno == EINTR) {
  }
  return true;
}

void TerminalInput::loop() {
  std::array<std::byte, 1024> buffer{};
  bool open = true;
  while (true) {
    // What ends the loop comes first: it is looked at alone while the guest does not read.
    std::array<pollfd, 3> fds{
        {{wake_[0], POLLIN, 0}, {signals_, POLLIN, 0}, {open ? STDIN_FILENO : -1, POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0 && ended_by_signal()) return;
    if (fds[2].revents == 0) continue;
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      open = false;  // the guest goes on without input
      continue;
    }
    std::span<const std::byte> typed(buffer.data(), static_cast<std::size_t>(n));
    const auto leave = raw_ ? std::find(typed.begin(), typed.end(), leave_key) : typed.end();
    std::span<const std::byte> rest = typed.first(static_cast<std::size_t>(leave - typed.begin()));
    while (!rest.empty()) {
      rest = rest.subspan(on_bytes_(rest));
      // The guest doesn't read just now: keep what it was not given.
      if (rest.empty() || ::poll(fds.data(), 2, 20) <= 0) continue;
      if (fds[0].revents != 0) return;
      if (fds[1].revents != 0 && ended_by_signal()) return;
    }
    if (leave != typed.end()) return on_leave_();
  }
}

}  // namespace pinfold::cli
