// Threads of queues that exist before the guest runs, for devices that it gets later.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "devices/queue_thread.hpp"

namespace pinfold::devices {

class QueueThreadReserve;

/// Ends a queue's thread, or gives it back to the reserve that it came from, when it is idle.
struct QueueThreadEnd {
  std::shared_ptr<QueueThreadReserve> reserve = nullptr;
  void operator()(QueueThread* thread) const;
};
/// A thread that a queue has for as long as it needs it.
using OwnedQueueThread = std::unique_ptr<QueueThread, QueueThreadEnd>;

/// One of the reserve's, or a new one without a reserve. An error is one line.
[[nodiscard]] tl::expected<OwnedQueueThread, std::string> queue_thread(
    QueueThreadReserve* reserve, const std::function<void()>& on_change);

/// A fixed number of threads, all started when this is made: no thread begins while the guest runs. Each
/// serves one queue after the other.
///
/// Concurrency: any thread.
class QueueThreadReserve : public std::enable_shared_from_this<QueueThreadReserve> {
 public:
  /// `on_change`: as of QueueThread::make(). An error is one line.
  [[nodiscard]] static tl::expected<std::shared_ptr<QueueThreadReserve>, std::string> make(
      std::size_t count, const std::function<void()>& on_change);
  /// Null: all are in use.
  [[nodiscard]] OwnedQueueThread take();
  [[nodiscard]] std::size_t free();

 private:
  friend struct QueueThreadEnd;
  void give_back(std::unique_ptr<QueueThread> thread);

  std::mutex mutex_;
  std::vector<std::unique_ptr<QueueThread>> idle_;  ///< Guarded by the mutex.
};

}  // namespace pinfold::devices
