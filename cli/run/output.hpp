// What the guest prints, on its way out of the program.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <thread>

namespace pinfold::cli {

/// Writes to a file descriptor from a thread of its own, in order and without loss, so that no other thread
/// waits for a slow reader. If the reader is gone, the rest is dropped. Any thread may call anything.
class OutputWriter {
 public:
  /// The most bytes that wait here; offer() does not take more.
  static constexpr std::size_t limit = std::size_t{64} * 1024;
  /// After hurry(): how long the reader may take nothing.
  static constexpr std::chrono::milliseconds patience{300};
  /// After hurry(): how long it may take altogether.
  static constexpr std::chrono::seconds most_patience{2};

  explicit OutputWriter(int fd);
  /// Calls hurry() and finish().
  ~OutputWriter();
  OutputWriter(const OutputWriter&) = delete;
  OutputWriter& operator=(const OutputWriter&) = delete;

  /// Takes as many bytes as there is room for, without waiting; returns how many.
  [[nodiscard]] std::size_t offer(std::span<const std::byte> bytes);
  /// `tell` is called, on the writer's thread and without a lock, when there is room again after `offer` has
  /// left something.
  void on_room(std::function<void()> tell);
  /// From here on `offer` takes everything, and `tell` is not called any more. Not from within `tell`.
  void take_everything();
  /// Waits until all that was offered is written or dropped. Before hurry() there is no limit of time.
  void finish();
  /// The program is to end soon: from here on the reader has `patience` and `most_patience`.
  void hurry();

 private:
  using Clock = std::chrono::steady_clock;
  void loop();
  void write_some(std::unique_lock<std::mutex>& lock);
  void tell_of_room(std::unique_lock<std::mutex>& lock);

  const int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::byte> waiting_;
  std::function<void()> tell_;
  bool refused_ = false, telling_ = false, unlimited_ = false;
  bool closing_ = false, hurried_ = false, given_up_ = false, done_ = false;
  Clock::time_point progress_, hurried_at_;
  std::thread thread_;
};

}  // namespace pinfold::cli
