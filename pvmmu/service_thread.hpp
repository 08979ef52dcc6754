// A thread beside those of the vCPUs.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace pinfold {

/// Starts a thread that takes no signals: those that ask the program to end are for the thread that knows
/// how.
template <class Work>
[[nodiscard]] std::thread service_thread(Work work) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  std::thread thread(std::move(work));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace pinfold
