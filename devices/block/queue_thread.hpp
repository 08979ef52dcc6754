// The thread that serves one queue of a block device.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "devices/block/request_queue.hpp"
#include "devices/block/wake_fd.hpp"
#include "devices/event_channels.hpp"

namespace pinfold::devices::block {

/// Serves a frontend's queue from connect() on until disconnect() and the end of the transfers that are on
/// their way then; any number of times. The thread exists from start() on.
///
/// Concurrency: start(), connect() and disconnect() are called by one thread, the others by any.
class QueueThread {
 public:
  /// `on_change` is called by the queue's thread, without a lock, when is_idle() or is_broken() becomes true.
  [[nodiscard]] static tl::expected<std::unique_ptr<QueueThread>, std::string> make(
      Image& image, const Geometry& geometry, GrantAccess grants, std::function<void()> on_change);
  /// Waits for the transfers that are on their way.
  ~QueueThread();
  QueueThread(const QueueThread&) = delete;
  QueueThread& operator=(const QueueThread&) = delete;

  void start();
  /// Binds the guest's port and begins to serve the ring. Only while is_idle(). EINVAL if the guest has not
  /// opened that port for the monitor.
  [[nodiscard]] Status connect(EventChannels& events, Port port, GrantedPage ring);
  /// Takes no more requests; is_idle() becomes true when all transfers are done.
  void disconnect();
  /// Is no frontend connected, and nothing on the way?
  [[nodiscard]] bool is_idle();
  /// Has the frontend broken its ring?
  [[nodiscard]] bool is_broken();
  /// Of all connections that there were.
  [[nodiscard]] const QueueCounts& counts() const { return bell_->counts; }

 private:
  /// Rung by the guest's events, which may come when this thread object is gone. Therefore the counts are
  /// here.
  struct Bell {
    explicit Bell(WakeFd wake_fd) : fd(std::move(wake_fd)) {}
    void ring() {
      if (!rung.exchange(true)) fd.raise();
    }
    void ring_for_guest() {
      QueueCounts::add(counts.events_received);
      ring();
    }
    void silence() {
      fd.clear();
      rung = false;
    }
    WakeFd fd;
    std::atomic<bool> rung = false;
    QueueCounts counts;
  };
  /// A connection to a frontend.
  struct Link {
    Link(std::unique_ptr<MonitorEnd> to, GrantedPage ring, GrantAccess& grants, TransferQueue& transfers,
         const Geometry& geometry, QueueCounts& counts)
        : end(std::move(to)), queue(std::move(ring), grants, transfers, geometry, counts) {}
    std::unique_ptr<MonitorEnd> end;
    RequestQueue queue;
  };
  enum class Wish : std::uint8_t { serve, disconnect, end };

  QueueThread(const Geometry& geometry, GrantAccess grants, std::unique_ptr<TransferQueue> transfers,
              WakeFd bell, std::function<void()> on_change)
      : geometry_(geometry),
        grants_(std::move(grants)),
        transfers_(std::move(transfers)),
        bell_(std::make_shared<Bell>(std::move(bell))),
        on_change_(std::move(on_change)) {}

  void run();
  using Rest = std::optional<std::chrono::nanoseconds>;
  static constexpr std::chrono::nanoseconds none{0};
  /// Does what there is to do. Returns for how long the thread may sleep then; nothing: until it is woken.
  [[nodiscard]] Rest serve(Link& link, Wish wish);
  /// Ends the connection, of which nothing is on the way.
  void drop_link();
  [[nodiscard]] bool note_broken(const RequestQueue& queue);
  void sleep(Rest rest);

  const Geometry geometry_;
  GrantAccess grants_;
  std::unique_ptr<TransferQueue> transfers_;
  std::shared_ptr<Bell> bell_;
  std::function<void()> on_change_;
  std::mutex mutex_;
  // Guarded by the mutex; the thread alone uses what is in the link, and drops it.
  std::unique_ptr<Link> link_;
  bool idle_ = true;
  bool broken_ = false;
  Wish wish_ = Wish::serve;
  std::thread thread_;
};

}  // namespace pinfold::devices::block
