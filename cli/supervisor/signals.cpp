#include "cli/supervisor/signals.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/exit_codes.hpp"
#include "cli/run/ending_signals.hpp"

namespace pinfold::cli {

SupervisorSignals::SupervisorSignals() {
  // If it was ignored, waitpid(2) would find no children.
  std::signal(SIGCHLD, SIG_DFL);
  sigset_t set = ending_signals();
  sigaddset(&set, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  fd_ = vmm::Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

SupervisorSignals::~SupervisorSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

int SupervisorSignals::next() {
  signalfd_siginfo signal{};
  if (::read(fd_.get(), &signal, sizeof signal) != sizeof signal) return 0;
  return static_cast<int>(signal.ssi_signo);
}

void end_by(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
  ::_exit(exit_monitor_failed);
}

}  // namespace pinfold::cli
