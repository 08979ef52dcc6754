// The thread that serves one queue of a device.
#pragma once

#include <poll.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tl/expected.hpp>
#include <vector>

#include "devices/bell.hpp"

namespace pinfold::devices {

/// A queue that is connected to a frontend, as its thread serves it.
///
/// Concurrency: made and bound by one thread, then used and destroyed by the queue's.
class QueueLink {
 public:
  /// How long the thread may sleep; nothing: until it is woken.
  using Rest = std::optional<std::chrono::nanoseconds>;
  static constexpr std::chrono::nanoseconds no_rest{0};

  QueueLink() = default;
  QueueLink(const QueueLink&) = delete;
  QueueLink& operator=(const QueueLink&) = delete;
  /// Releases all that is the guest's.
  virtual ~QueueLink() = default;

  /// Does what there is to do, but no more than a stretch of it. `ending`: takes nothing more from the
  /// frontend.
  [[nodiscard]] virtual Rest serve(bool ending) = 0;
  /// Is nothing on the way?
  [[nodiscard]] virtual bool is_idle() const = 0;
  /// Why the frontend can't be served any more; null: it can.
  [[nodiscard]] virtual const char* fault() const = 0;
  /// Has something changed that the device would tell of (xenbus::Backend::news()) since the last call?
  [[nodiscard]] virtual bool has_news() { return false; }
  /// Adds what else is to wake the thread.
  virtual void add_descriptors(std::vector<pollfd>& all) const = 0;
  /// By any thread while the link exists: what xenbus::Backend says of both. After a hush that is not done,
  /// the thread is woken.
  [[nodiscard]] virtual bool hush() { return true; }
  [[nodiscard]] virtual bool see_off() = 0;
};

/// Serves a frontend's queue from connect() on until disconnect() and the end of what is on its way then; any
/// number of times. The thread exists from start() on.
///
/// Concurrency: start(), connect() and disconnect() are called by one thread, the others by any.
class QueueThread {
 public:
  /// `on_change` is called by the queue's thread, without a lock, when what is_idle() or fault() returns
  /// changes, and when the link has news.
  [[nodiscard]] static tl::expected<std::unique_ptr<QueueThread>, std::string> make(
      std::function<void()> on_change);
  /// Waits for what is on its way.
  ~QueueThread();
  QueueThread(const QueueThread&) = delete;
  QueueThread& operator=(const QueueThread&) = delete;

  /// Does nothing if the thread is there already.
  void start();
  /// Begins to serve. Only while is_idle().
  void connect(std::unique_ptr<QueueLink> link);
  /// Takes nothing more; is_idle() becomes true when nothing is on the way any more.
  void disconnect();
  /// Is no frontend connected, and nothing on the way?
  [[nodiscard]] bool is_idle();
  /// Disconnects, and waits until it is idle.
  void settle();
  [[nodiscard]] const char* fault();
  /// Those of the link to the frontend that is connected; true if none is.
  [[nodiscard]] bool hush();
  [[nodiscard]] bool see_off();
  /// What wakes the thread. It may be rung when the thread is gone.
  [[nodiscard]] std::shared_ptr<Bell> bell() const { return bell_; }

 private:
  enum class Wish : std::uint8_t { serve, disconnect, end };

  QueueThread(WakeFd fd, std::function<void()> on_change)
      : bell_(std::make_shared<Bell>(std::move(fd))), on_change_(std::move(on_change)) {}
  void run();
  void drop_link();
  [[nodiscard]] bool note_fault(const QueueLink& link);
  void sleep(const QueueLink* link, QueueLink::Rest rest);

  std::shared_ptr<Bell> bell_;
  std::function<void()> on_change_;
  std::mutex mutex_;
  std::condition_variable became_idle_;
  // Guarded by the mutex; the thread alone uses what is in the link, and drops it.
  std::unique_ptr<QueueLink> link_;
  bool idle_ = true;
  const char* fault_ = nullptr;
  Wish wish_ = Wish::serve;
  std::vector<pollfd> descriptors_;  ///< The thread's own.
  std::thread thread_;
};

}  // namespace pinfold::devices
