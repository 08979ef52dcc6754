// The user's terminal as the guest's console.
#pragma once

#include <termios.h>
#include <csignal>

#include <atomic>
#include <functional>
#include <span>
#include <thread>

namespace pinfold::cli {

/// Reads stdin on a thread of its own and passes on what is typed, until Ctrl-], the end of input, or
/// destruction. A terminal is in raw mode during this time; its mode is restored afterwards, also when
/// SIGINT, SIGTERM or SIGHUP ask the program to end. A second such signal ends the program at once.
class TerminalInput {
 public:
  /// `on_bytes` returns how many bytes it took; the rest is offered again a little later. `on_leave` is
  /// called when the user types Ctrl-], or a signal comes. Threads started from here on do not take these
  /// signals.
  TerminalInput(std::function<std::size_t(std::span<const std::byte>)> on_bytes,
                std::function<void()> on_leave);
  ~TerminalInput();
  TerminalInput(const TerminalInput&) = delete;
  TerminalInput& operator=(const TerminalInput&) = delete;

 private:
  void loop();
  [[nodiscard]] bool ended_by_signal();
  std::function<std::size_t(std::span<const std::byte>)> on_bytes_;
  std::function<void()> on_leave_;
  bool raw_ = false;
  termios before_{};
  int wake_[2] = {-1, -1};
  int signals_ = -1;
  sigset_t signals_before_{};
  std::thread thread_;
};

}  // namespace pinfold::cli
