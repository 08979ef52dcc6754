// Wakes a thread that waits in poll(2).
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Any thread may call signal(): it never waits, and costs a system call only if the last signal was cleared.
class WakeUp {
 public:
  void signal() {
    if (pending_.exchange(true)) return;
    const std::uint64_t one = 1;
    (void)!::write(fd_.get(), &one, sizeof one);
  }
  /// Before the waiting thread looks for what there is to do.
  void clear() {
    std::uint64_t count = 0;
    (void)!::read(fd_.get(), &count, sizeof count);
    pending_ = false;
  }
  /// Readable after a signal.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  vmm::Fd fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> pending_ = false;
};

}  // namespace pinfold::cli
