// A connection of a disk's queue to a frontend.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "devices/block/request_queue.hpp"
#include "devices/event_channels.hpp"
#include "devices/queue_thread.hpp"

namespace pinfold::devices::block {

/// What a disk's queue needs, connected or not.
struct QueueParts {
  GrantAccess grants;
  std::unique_ptr<TransferQueue> transfers;
  std::shared_ptr<QueueCounts> counts;  ///< Also an event's, which may come when the queue is gone.
};

/// Concurrency: as a devices::QueueLink's.
class RequestLink final : public QueueLink {
 public:
  /// `parts` outlive this.
  RequestLink(std::unique_ptr<MonitorEnd> end, GrantedPage ring, QueueParts& parts, const Image& image)
      : end_(std::move(end)),
        parts_(parts),
        queue_(std::in_place, std::move(ring), parts.grants, *parts.transfers, image, *parts.counts) {}
  ~RequestLink() override {
    queue_.reset();
    parts_.grants.settle();
  }

  [[nodiscard]] Rest serve(bool ending) override {
    const auto now = Pacing::Clock::now();
    if (ending) queue_->stop_taking();
    if (queue_->serve(now)) end_->notify_guest();
    if (const auto rest = queue_->rest(now)) return rest;
    return queue_->await_request() ? Rest(no_rest) : parts_.transfers->patience();
  }
  [[nodiscard]] bool is_idle() const override { return queue_->is_idle(); }
  [[nodiscard]] const char* fault() const override {
    return queue_->is_broken() ? "the frontend's ring claims more requests than it holds" : nullptr;
  }
  void add_descriptors(std::vector<pollfd>& all) const override { parts_.transfers->add_descriptors(all); }
  [[nodiscard]] bool see_off() override {
    end_->notify_guest();
    return !end_->is_connected();
  }

 private:
  std::unique_ptr<MonitorEnd> end_;
  QueueParts& parts_;
  std::optional<RequestQueue> queue_;
};

}  // namespace pinfold::devices::block
