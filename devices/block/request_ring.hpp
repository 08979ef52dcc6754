// The ring page of a block device's queue, as the backend sees it (xen/io/blkif.h).
#pragma once

#include <cstdint>
#include <optional>

#include "devices/back_ring.hpp"

namespace pinfold::devices::block {

/// A BackRing of the block protocol.
///
/// Not thread-safe.
class RequestRing {
 public:
  /// Requests in a page.
  static constexpr std::uint32_t size = ring_shape<blkif_sring>().entries;

  explicit RequestRing(GrantedPage page) : ring_(std::move(page), ring_shape<blkif_sring>()) {}

  /// The next request; nothing if there is none.
  [[nodiscard]] std::optional<blkif_request> take();
  /// Puts a response into the ring, for a request that was taken; publish() shows it to the frontend.
  void respond(const blkif_response& response);
  /// Shows the responses. True: the frontend wants an event for them.
  [[nodiscard]] bool publish() { return ring_.publish(); }
  /// Asks the frontend for an event at its next request. True: there is one already.
  [[nodiscard]] bool await_request() { return ring_.await(); }
  [[nodiscard]] bool is_broken() const { return ring_.is_broken(); }
  /// Responses that were not shown yet.
  [[nodiscard]] std::uint32_t unpublished() const { return ring_.unpublished(); }
  /// Requests that were taken and not responded to.
  [[nodiscard]] std::uint32_t under_way() const { return ring_.under_way(); }

 private:
  BackRing ring_;
};

}  // namespace pinfold::devices::block
