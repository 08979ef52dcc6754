#include "cli/console/client.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string_view>

#include "cli/control/guests.hpp"
#include "cli/control/socket.hpp"
#include "cli/exit_codes.hpp"

namespace pinfold::cli {
namespace {

constexpr char leave_key = 0x1d;  // Ctrl-]

/// The terminal on stdin, if there is one, in raw mode for as long as this lives; and the signals that ask
/// the program to end, as a descriptor.
class Terminal {
 public:
  Terminal() {
    is_terminal_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    sigset_t ends;
    sigemptyset(&ends);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, signal);
    ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    signals_ = vmm::Fd(::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!is_terminal_) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~Terminal() {
    if (is_terminal_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  [[nodiscard]] bool is_terminal() const { return is_terminal_; }
  [[nodiscard]] int signals() const { return signals_.get(); }

 private:
  bool is_terminal_ = false;
  termios before_{};
  vmm::Fd signals_;
};

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

enum class Why { left, disconnected };

/// One connection to the guest's console.
class Link {
 public:
  Link(vmm::Fd socket, const Terminal& terminal, bool& input_open)
      : socket_(std::move(socket)), terminal_(terminal), input_open_(input_open) {}

  Why pass() {
    if (!input_open_) ::shutdown(socket_.get(), SHUT_WR);
    for (;;) {
      std::array<pollfd, 3> fds{{{terminal_.signals(), POLLIN, 0},
                                 {socket_.get(), POLLIN, 0},
                                 {input_open_ ? STDIN_FILENO : -1, POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return Why::left;
      if (fds[0].revents != 0) return Why::left;
      if (fds[1].revents != 0) {
        const ssize_t n = ::recv(socket_.get(), bytes_.data(), bytes_.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return Why::disconnected;
        if (!write_all({bytes_.data(), static_cast<std::size_t>(n)})) return Why::left;
      }
      if (fds[2].revents != 0 && !type()) return Why::left;
    }
  }

 private:
  /// Passes on what was typed; false: the user leaves.
  bool type() {
    const ssize_t n = ::read(STDIN_FILENO, bytes_.data(), bytes_.size());
    if (n < 0 && errno == EINTR) return true;
    if (n <= 0) {
      input_open_ = false;
      ::shutdown(socket_.get(), SHUT_WR);
      return true;
    }
    const std::string_view typed(bytes_.data(), static_cast<std::size_t>(n));
    const auto leave = terminal_.is_terminal() ? typed.find(leave_key) : std::string_view::npos;
    // A guest that does not read makes the user wait, but a signal still ends this. If the connection is
    // gone, the next recv() says so.
    const vmm::Fd signals(::dup(terminal_.signals()));
    (void)send_all(socket_, typed.substr(0, leave), -1, &signals);
    return leave == std::string_view::npos;
  }

  vmm::Fd socket_;
  const Terminal& terminal_;
  bool& input_open_;
  std::array<char, 4096> bytes_{};
};

int complain(const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return exit_bad_image;
}

}  // namespace

int attach_console(const std::string& name_or_id) {
  const auto guest = find_guest(name_or_id);
  if (!guest) return complain(guest.error());
  auto socket = connect_to_guest(guest->directory, guest->name, GuestSocket::console);
  if (!socket) return complain(socket.error());
  return attach_console(guest->directory, guest->name, std::move(*socket));
}

int attach_console(const std::filesystem::path& directory, const std::string& name, vmm::Fd connection) {
  bool input_open = true;
  const Terminal terminal;
  while (Link(std::move(connection), terminal, input_open).pass() != Why::left) {
    // The guest ended, or starts again.
    auto next = connect_to_guest(directory, name, GuestSocket::console);
    if (!next) break;
    connection = std::move(*next);
  }
  return exit_powered_off;
}

}  // namespace pinfold::cli
