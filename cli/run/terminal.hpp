// The user's terminal as the guest's console.
#pragma once

#include <termios.h>
#include <csignal>

#include <atomic>
#include <functional>
#include <span>
#include <thread>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Reads stdin on a thread of its own and passes on what is typed, until Ctrl-], the end of input, or
/// destruction. A terminal is in raw mode during this time; its mode is restored afterwards, also when
/// SIGINT, SIGTERM or SIGHUP ask the program to end. A second such signal ends the program at once.
///
/// The supervisor asks for the end by a byte. It also passes on its signals in this way: so a signal to both,
/// from the terminal or to a whole process group, counts once. If the supervisor is killed, the program ends
/// at once: by SIGKILL, or, if a terminal has to be restored first, by itself.
class TerminalInput {
 public:
  /// `on_bytes` returns how many bytes it took; the rest is offered again a little later. `on_leave` is
  /// called when the user types Ctrl-], or is asked to by a signal or `supervisor`, a socket that outlives
  /// this. Threads started from here on do not take these signals. Made and destroyed by the main thread.
  TerminalInput(std::function<std::size_t(std::span<const std::byte>)> on_bytes,
                std::function<void()> on_leave, const vmm::Fd& supervisor);
  ~TerminalInput();
  TerminalInput(const TerminalInput&) = delete;
  TerminalInput& operator=(const TerminalInput&) = delete;

 private:
  void loop();
  [[nodiscard]] bool is_asked_to_leave(short signals, short supervisor);
  void leave(bool by_signal);
  void restore_terminal();
  std::function<std::size_t(std::span<const std::byte>)> on_bytes_;
  std::function<void()> on_leave_;
  const vmm::Fd& supervisor_;
  bool raw_ = false;
  termios before_{};
  int wake_[2] = {-1, -1};
  int signals_ = -1;
  sigset_t signals_before_{};
  std::thread thread_;
};

}  // namespace pinfold::cli
