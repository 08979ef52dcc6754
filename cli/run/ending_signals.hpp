// The signals that ask the program to end.
#pragma once

#include <csignal>

namespace pinfold::cli {

/// SIGINT, SIGTERM and SIGHUP, but those that the program was started to ignore, as by nohup(1).
[[nodiscard]] inline sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction now {};
    if (::sigaction(signal, nullptr, &now) != 0 || now.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  return set;
}

}  // namespace pinfold::cli
