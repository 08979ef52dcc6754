// How one vCPU's thread is called out of the guest or out of its sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include <pthread.h>

namespace pinfold::vmm {

/// A vCPU's wake-up call. Offers kick() to any thread; needs that SIGUSR1 makes the vCPU's thread leave the
/// guest, and that its handler calls note_signal().
///
/// No kick is lost: kick() stores `kicked_` and then reads `takes_signals_`; the vCPU stores `takes_signals_`
/// (accept_signals) and then reads `kicked_` (is_kicked), or it stores a clear `kicked_` and then looks at
/// what it would be kicked for. Both flags are sequentially consistent, so at least one of the two sees what
/// the other one stored (docs/locking.md).
///
/// Concurrency: kick(), is_kicked() and look_again() in any thread; note_signal() in a signal handler; the
/// others in the vCPU's own thread. `mutex_` is a leaf.
class Wakeup {
 public:
  /// `signals`: counts those that were sent. It outlives this object.
  explicit Wakeup(std::atomic<std::uint64_t>& signals) : signals_(signals) {}

  /// Calls the vCPU: its sleep ends, or it leaves the guest. The signal is sent only while the vCPU is in the
  /// guest, or about to be.
  void kick();
  /// The signal came.
  void note_signal() { kicked_ = true; }

  /// The thread that calls this is the vCPU's.
  void begin_thread() { thread_ = pthread_self(); }
  /// From here on nobody sends a signal: the thread may end.
  void end_thread();

  /// From just before an entry until the exit.
  void accept_signals() { takes_signals_ = true; }
  void refuse_signals() { takes_signals_ = false; }

  [[nodiscard]] bool is_kicked() const { return kicked_; }
  /// Before the vCPU looks at everything that it may be kicked for.
  void clear() { kicked_ = false; }
  /// The vCPU's own reason to look at everything once more.
  void look_again() { kicked_ = true; }

  /// Sleeps until kicked, or so many ns (nothing: no limit); at most an hour at a time. Without any other
  /// lock.
  void sleep(std::optional<std::uint64_t> limit_ns);

 private:
  std::atomic<std::uint64_t>& signals_;
  std::atomic<bool> kicked_{false};
  std::atomic<bool> takes_signals_{false};
  std::mutex mutex_;
  std::condition_variable woken_;
  pthread_t thread_{};
};

}  // namespace pinfold::vmm
