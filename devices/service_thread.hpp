// A thread of a device.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace pinfold::devices {

/// Starts a thread that takes no signals: those that ask the program to end, and those that wake a vCPU, are
/// for other threads.
template <class Work>
[[nodiscard]] std::thread service_thread(Work work) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  std::thread thread(std::move(work));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace pinfold::devices
