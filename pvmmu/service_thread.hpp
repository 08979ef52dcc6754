// The one place where threads begin. Each has a kind, by which a sandbox can tell what it needs.
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <future>
#include <thread>
#include <utility>

namespace pinfold {

/// What a thread is for. The sandbox has a filter for each kind (cli/sandbox/).
enum class ThreadKind : std::uint8_t {
  vcpu,     ///< Runs a vCPU of a guest.
  io,       ///< Serves devices.
  control,  ///< Serves the host's side: control, store and console sockets, GDB, the terminal.
  log,      ///< Writes output, console logs and traces.
  machine,  ///< The main thread while guests run: makes those that join the machine, and their threads.
};

/// Called by each new thread before it does anything else, and by a thread that becomes another kind. It does
/// not return if the thread may not go on. It is the process's own, since a sandbox is.
using ThreadEntry = void (*)(ThreadKind);

namespace detail {
inline std::atomic<ThreadEntry> thread_entry = nullptr;
}

/// Threads that started before are not asked.
inline void on_thread_entry(ThreadEntry entry) { detail::thread_entry = entry; }

/// From here on the calling thread does only what its kind does.
inline void become(ThreadKind kind) {
  if (const ThreadEntry entry = detail::thread_entry) entry(kind);
}

/// Starts a thread that has the signal mask of its maker. Returns when the thread is of its kind: whoever
/// starts a guest afterwards knows that all threads are confined.
template <class Work>
[[nodiscard]] std::thread start_thread(ThreadKind kind, Work work) {
  std::promise<void> entered;
  const std::future<void> is_of_its_kind = entered.get_future();
  std::thread thread([kind, entered = std::move(entered), work = std::move(work)]() mutable {
    become(kind);
    entered.set_value();
    work();
  });
  is_of_its_kind.wait();
  return thread;
}

/// Starts a thread that takes no signals: those that ask the program to end are for the thread that knows
/// how. SIGSYS stays: if it were blocked, the kernel would end the program without a word about the refused
/// system call.
template <class Work>
[[nodiscard]] std::thread service_thread(ThreadKind kind, Work work) {
  sigset_t blocked, before;
  sigfillset(&blocked);
  sigdelset(&blocked, SIGSYS);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  try {
    std::thread thread = start_thread(kind, std::move(work));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace pinfold
