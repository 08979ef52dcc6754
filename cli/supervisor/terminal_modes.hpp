// The modes of the user's terminal, which a monitor that is killed leaves changed.
#pragma once

#include <termios.h>
#include <unistd.h>

#include <csignal>

namespace pinfold::cli {

/// Remembers the modes of the terminal on stdin, if there is one.
class TerminalModes {
 public:
  TerminalModes() : known_(::tcgetattr(STDIN_FILENO, &modes_) == 0) {}

  /// Sets them again. In the background the terminal is somebody else's: then it does nothing.
  void restore() const {
    if (known_ && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp()) ::tcsetattr(STDIN_FILENO, TCSANOW, &modes_);
  }

 private:
  termios modes_{};
  bool known_;
};

}  // namespace pinfold::cli
