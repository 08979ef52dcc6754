// The ring page of a block device's queue, as the backend sees it (xen/io/ring.h, xen/io/blkif.h).
#pragma once

#include <cstdint>
#include <optional>

#include "devices/granted_page.hpp"
#include "devices/xen_abi.hpp"

namespace pinfold::devices::block {

/// Takes requests and gives responses. Each request is copied once; of the frontend's indexes each is read
/// once at a time, and the ring's own are never read back. A frontend whose index claims more requests than
/// the ring has room for has broken the ring: nothing more is taken from it.
///
/// Not thread-safe.
class RequestRing {
 public:
  /// Requests in a page (__RING_SIZE in xen/io/ring.h): the largest power of two that fits.
  static constexpr std::uint32_t size = 32;

  /// Begins where the page says that responses end, as a frontend may have used it before.
  explicit RequestRing(GrantedPage page);

  /// The next request; nothing if there is none.
  [[nodiscard]] std::optional<blkif_request> take();
  /// Puts a response into the ring, for a request that was taken; publish() shows it to the frontend.
  void respond(const blkif_response& response);
  /// Shows the responses. True: the frontend wants an event for them.
  [[nodiscard]] bool publish();
  /// Asks the frontend for an event at its next request. True: there is one already.
  [[nodiscard]] bool await_request();
  [[nodiscard]] bool is_broken() const { return broken_; }
  /// Responses that were not shown yet.
  [[nodiscard]] std::uint32_t unpublished() const { return responded_ - published_; }
  /// Requests that were taken and not responded to.
  [[nodiscard]] std::uint32_t under_way() const { return taken_ - responded_; }

 private:
  /// Are there requests that were not taken?
  [[nodiscard]] bool has_request();

  GrantedPage page_;
  std::uint32_t taken_ = 0;      ///< req_cons
  std::uint32_t responded_ = 0;  ///< rsp_prod_pvt
  std::uint32_t published_ = 0;  ///< rsp_prod
  bool broken_ = false;
};

}  // namespace pinfold::devices::block
