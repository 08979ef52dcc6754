#include "cli/run/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

#include "cli/exit_codes.hpp"
#include "cli/run/ending_signals.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

constexpr std::byte leave_key{0x1d};  // Ctrl-]

/// When the supervisor dies, the kernel sends the signal to this process; 0: none. Applies to the parent's
/// death as each thread sees it (prctl(2)).
void on_death_of_supervisor(int signal) { ::prctl(PR_SET_PDEATHSIG, signal); }

/// From here on a signal does what it does by default: this thread alone takes it.
void let_signals_end_this() {
  const sigset_t ends = ending_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
}

bool is_gone(const vmm::Fd& supervisor) {
  pollfd link{supervisor.get(), 0, 0};
  return ::poll(&link, 1, 0) == 1 && (link.revents & POLLHUP) != 0;
}

}  // namespace

TerminalInput::TerminalInput(std::function<std::size_t(std::span<const std::byte>)> on_bytes,
                             std::function<void()> on_leave, const vmm::Fd& supervisor)
    : on_bytes_(std::move(on_bytes)), on_leave_(std::move(on_leave)), supervisor_(supervisor) {
  if (::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    // SIGKILL would leave the terminal in raw mode: the thread watches the link instead.
    on_death_of_supervisor(0);
    termios raw = before_;
    ::cfmakeraw(&raw);
    raw_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  const sigset_t ends = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &ends, &signals_before_);
  signals_ = ::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  if (::pipe2(wake_, O_CLOEXEC) == 0) thread_ = start_thread(ThreadKind::control, [this] { loop(); });
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
  restore_terminal();
  ::pthread_sigmask(SIG_SETMASK, &signals_before_, nullptr);
}

/// The supervisor's death is deadly again, for the thread that calls this.
void TerminalInput::restore_terminal() {
  if (!raw_) return;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  on_death_of_supervisor(SIGKILL);
  if (is_gone(supervisor_)) ::_exit(exit_monitor_failed);  // it died before that
}

/// Leaves if a signal or the supervisor asks for it.
bool TerminalInput::is_asked_to_leave(short signals, short supervisor) {
  signalfd_siginfo signal{};
  if (signals != 0 && ::read(signals_, &signal, sizeof signal) == sizeof signal) {
    leave(true);
    return true;
  }
  if (supervisor == 0) return false;
  char byte = 0;
  const ssize_t n = ::recv(supervisor_.get(), &byte, 1, MSG_DONTWAIT);
  if (n < 0) return false;
  if (n == 0) {
    restore_terminal();
    ::_exit(exit_monitor_failed);
  }
  leave(false);
  return true;
}

void TerminalInput::leave(bool by_signal) {
  restore_terminal();
  if (by_signal) let_signals_end_this();
  on_leave_();
  std::array<pollfd, 2> fds{{{wake_[0], POLLIN, 0}, {by_signal ? -1 : signals_, POLLIN, 0}}};
  for (;;) {
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    // The supervisor passed on a signal that went to this process, too: it counts once.
    signalfd_siginfo signal{};
    if (fds[1].revents == 0 || ::read(signals_, &signal, sizeof signal) < 0) continue;
    let_signals_end_this();
    fds[1].fd = -1;
  }
}

void TerminalInput::loop() {
  std::array<std::byte, 1024> buffer{};
  bool open = true;
  while (true) {
    // What ends the loop comes first: it is looked at alone while the guest does not read.
    std::array<pollfd, 4> fds{{{wake_[0], POLLIN, 0},
                               {signals_, POLLIN, 0},
                               {supervisor_.get(), POLLIN, 0},
                               {open ? STDIN_FILENO : -1, POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    if (is_asked_to_leave(fds[1].revents, fds[2].revents)) return;
    if (fds[3].revents == 0) continue;
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
      if (rest.empty() || ::poll(fds.data(), 3, 20) <= 0) continue;
      if (fds[0].revents != 0) return;
      if (is_asked_to_leave(fds[1].revents, fds[2].revents)) return;
    }
    if (leave != typed.end()) return on_leave_();
  }
}

}  // namespace pinfold::cli
