// What the guests print, on its way out of the program.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "cli/run/line_merger.hpp"

namespace pinfold::cli {

/// Writes to a file descriptor from a thread of its own, in order and without loss, so that no other thread
/// waits for a slow reader. If the reader is gone, the rest is dropped. Each guest has room of its own: one
/// that prints much takes nothing from the others. LineMerger says how their output becomes one. Any thread
/// may call anything.
class OutputWriter {
 public:
  /// The most bytes of a guest's that wait here; offer() does not take more.
  static constexpr std::size_t limit = std::size_t{64} * 1024;
  /// After hurry(): how long the reader may take nothing.
  static constexpr std::chrono::milliseconds patience{300};
  /// After hurry(): how long it may take altogether.
  static constexpr std::chrono::seconds most_patience{2};

  /// `names`: of the guests, which are numbered in this order; of one guest alone it may be empty.
  explicit OutputWriter(int fd, std::vector<std::string> names = {""});
  /// Calls hurry() and finish().
  ~OutputWriter();
  OutputWriter(const OutputWriter&) = delete;
  OutputWriter& operator=(const OutputWriter&) = delete;

  /// Takes as many of the guest's bytes as there is room for, without waiting; returns how many.
  [[nodiscard]] std::size_t offer(std::span<const std::byte> bytes, std::size_t guest = 0);
  /// `tell` is called, on the writer's thread and without a lock, when there is room again after `offer` has
  /// left something.
  void on_room(std::function<void()> tell, std::size_t guest = 0);
  /// From here on `offer` takes everything of the guest's until on_room(), and its `tell` is not called any
  /// more. Not from within `tell`.
  void take_everything(std::size_t guest = 0);
  /// Waits until all that was offered is written or dropped. Before hurry() there is no limit of time.
  void finish();
  /// The program is to end soon: from here on the reader has `patience` and `most_patience`.
  void hurry();

 private:
  using Clock = std::chrono::steady_clock;
  struct Guest {
    std::function<void()> tell;
    bool refused = false, unlimited = false;
  };
  void loop();
  /// Waits until there is something to write, or no more will come; false: that is so.
  [[nodiscard]] bool await_output(std::unique_lock<std::mutex>& lock);
  void write_some(std::unique_lock<std::mutex>& lock);
  void tell_of_room(std::unique_lock<std::mutex>& lock, std::size_t guest);

  const int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  LineMerger waiting_;
  std::string next_;  ///< What is written next.
  std::vector<Guest> guests_;
  bool telling_ = false, closing_ = false, hurried_ = false, given_up_ = false, done_ = false;
  Clock::time_point progress_, hurried_at_;
  std::thread thread_;
};

}  // namespace pinfold::cli
