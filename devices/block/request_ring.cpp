#include "devices/block/request_ring.hpp"

#include <array>
#include <cstddef>
#include <cstring>

namespace pinfold::devices::block {
namespace {

static_assert(sizeof(blkif_request) == 112 && offsetof(blkif_request, sector_number) == 16 &&
              offsetof(blkif_request, seg) == 24);
static_assert(sizeof(blkif_request_segment) == 8 && sizeof(blkif_response) == 16);
static_assert(sizeof(blkif_sring_entry) == 112 && RequestRing::size == 32);

}  // namespace

std::optional<blkif_request> RequestRing::take() {
  blkif_request request;
  if (!ring_.take(std::as_writable_bytes(std::span(&request, 1)))) return std::nullopt;
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
  ring_.respond(bytes);
}

}  // namespace pinfold::devices::block
