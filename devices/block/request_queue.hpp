// One queue of a block device: requests of the guest become transfers of the image, and their results
// responses.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/queue_counts.hpp"
#include "devices/block/request.hpp"
#include "devices/block/request_ring.hpp"
#include "devices/granted_page.hpp"
#include "devices/pacing.hpp"

namespace pinfold::devices::block {

/// A request's grants are in use, and its frames held, from the moment at which it is taken from the ring
/// until its transfer is done; then the response follows. One that does not pass the checks, or names a grant
/// that can't be used, is answered without a transfer. At most RequestRing::size requests are under way, each
/// with at most max_segments grants.
///
/// Not thread-safe: a thread of its own serves it. Destroyed only when nothing is on the way.
class RequestQueue {
 public:
  /// `transfers` has room for RequestRing::size transfers. All parameters outlive the queue.
  RequestQueue(GrantedPage ring, GrantAccess& grants, TransferQueue& transfers, const Image& image,
               QueueCounts& counts)
      : ring_(std::move(ring)), grants_(grants), transfers_(transfers), image_(image), counts_(counts) {}

  /// Responds to what is done, takes the requests that are there (at most a ring of them), and starts their
  /// transfers. True: the frontend is to be notified.
  [[nodiscard]] bool serve(Pacing::Clock::time_point now);
  /// How long the thread may sleep before it serves again, without await_request(). Nothing: that has to come
  /// first.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> rest(Pacing::Clock::time_point now) const {
    return pacing_.rest(now);
  }
  /// Takes no more requests, but still responds.
  void stop_taking() { taking_ = false; }
  /// Before the thread sleeps: asks the frontend for an event at its next request. True: don't sleep, there
  /// is one.
  [[nodiscard]] bool await_request() { return taking_ && ring_.await_request(); }
  /// Is nothing on the way?
  [[nodiscard]] bool is_idle() const { return transfers_.on_the_way() == 0; }
  /// The frontend's index claimed more than the ring holds; nothing is taken any more.
  [[nodiscard]] bool is_broken() const { return ring_.is_broken(); }

 private:
  /// A request under way.
  struct Slot {
    bool used = false;
    std::uint64_t id = 0;  ///< The guest's, echoed.
    std::uint8_t operation = 0;
    Request request;
    std::vector<GrantedPage> pages;  ///< One for each segment.
    std::vector<iovec> memory;
  };
  void collect();
  /// Takes what is in the ring; returns how many requests.
  std::uint32_t take_requests();
  void begin(const blkif_request& raw);
  /// Begins to use each grant of the request; false if one can't be used.
  [[nodiscard]] bool take_grants(Slot& slot);
  [[nodiscard]] bool submit(std::size_t slot, Operation operation);
  void on_done(const Completion& completion);
  void respond(std::uint64_t id, std::uint8_t operation, int status);

  RequestRing ring_;
  GrantAccess& grants_;
  TransferQueue& transfers_;
  const Image& image_;
  QueueCounts& counts_;
  Pacing pacing_;
  bool taking_ = true;
  std::array<Slot, RequestRing::size> slots_;
};

}  // namespace pinfold::devices::block
