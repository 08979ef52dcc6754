// Threads that wait for the host, for hosts without io_uring.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace pinfold::devices::block {

/// A fixed number of threads that do jobs in the order in which they come.
///
/// Concurrency: any thread adds jobs.
class IoThreads {
 public:
  using Job = std::function<void()>;

  explicit IoThreads(unsigned count);
  /// Waits for the jobs that were added.
  ~IoThreads();
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  void add(Job job);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace pinfold::devices::block
