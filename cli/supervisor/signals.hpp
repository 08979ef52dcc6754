// The signals that a supervisor waits for.
#pragma once

#include <csignal>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// While it exists, signals that ask for the end, and SIGCHLD, come through a descriptor.
class SupervisorSignals {
 public:
  SupervisorSignals();
  ~SupervisorSignals();
  SupervisorSignals(const SupervisorSignals&) = delete;
  SupervisorSignals& operator=(const SupervisorSignals&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// The next signal that came, SIGCHLD among them; 0: there is none.
  [[nodiscard]] int next();
  /// The mask that the program was started with.
  [[nodiscard]] const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_{};
  vmm::Fd fd_;
};

/// Ends this process as the signal does by default.
[[noreturn]] void end_by(int signal);

}  // namespace pinfold::cli
