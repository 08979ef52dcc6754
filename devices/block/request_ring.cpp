#include "devices/block/request_ring.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

namespace pinfold::devices::block {
namespace {

static_assert(sizeof(blkif_request) == 112 && offsetof(blkif_request, sector_number) == 16 &&
              offsetof(blkif_request, seg) == 24);
static_assert(sizeof(blkif_request_segment) == 8 && sizeof(blkif_response) == 16);
static_assert(offsetof(blkif_sring, ring) == 64 && sizeof(blkif_sring_entry) == 112);
static_assert((page_size - offsetof(blkif_sring, ring)) / sizeof(blkif_sring_entry) >= RequestRing::size &&
              (page_size - offsetof(blkif_sring, ring)) / sizeof(blkif_sring_entry) < 2 * RequestRing::size);

constexpr std::size_t req_prod = offsetof(blkif_sring, req_prod),
                      req_event = offsetof(blkif_sring, req_event),
                      rsp_prod = offsetof(blkif_sring, rsp_prod),
                      rsp_event = offsetof(blkif_sring, rsp_event);

constexpr std::size_t entry(std::uint32_t index) {
  return offsetof(blkif_sring, ring) + index % RequestRing::size * sizeof(blkif_sring_entry);
}

}  // namespace

RequestRing::RequestRing(GrantedPage page) : page_(std::move(page)) {
  taken_ = responded_ = published_ = page_.shared().load<std::uint32_t>(rsp_prod);
}

bool RequestRing::has_request() {
  if (broken_) return false;
  const std::uint32_t waiting = page_.shared().load<std::uint32_t>(req_prod) - taken_;
  broken_ = waiting > size - under_way();
  return waiting != 0 && !broken_;
}

std::optional<blkif_request> RequestRing::take() {
  if (!has_request()) return std::nullopt;
  blkif_request request;
  page_.copy_out(entry(taken_), std::as_writable_bytes(std::span(&request, 1)));
  ++taken_;
  return request;
}

void RequestRing::respond(const blkif_response& response) {
  // Without what the structure's padding holds.
  std::array<std::byte, sizeof(blkif_response)> bytes{};
  const auto put = [&](std::size_t offset, const auto& field) {
    std::memcpy(bytes.data() + offset, &field, sizeof field);
  };
  put(offsetof(blkif_response, id), response.id);
  put(offsetof(blkif_response, operation), response.operation);
  put(offsetof(blkif_response, status), response.status);
  page_.shared().copy_in(entry(responded_), bytes);
  ++responded_;
}

bool RequestRing::publish() {
  if (published_ == responded_) return false;
  const std::uint32_t before = std::exchange(published_, responded_);
  page_.shared().store(rsp_prod, published_);
  // RING_PUSH_RESPONSES_AND_CHECK_NOTIFY: is rsp_event among what was just published?
  return published_ - page_.shared().load<std::uint32_t>(rsp_event) < published_ - before;
}

bool RequestRing::await_request() {
  if (broken_) return false;
  page_.shared().store(req_event, taken_ + 1);
  return has_request();
}

}  // namespace pinfold::devices::block
