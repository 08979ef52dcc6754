#include "devices/net/rx_side.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::net {
namespace {

static_assert(sizeof(netif_rx_request) == 8 && offsetof(netif_rx_request, gref) == 4);
static_assert(sizeof(netif_rx_response) == 8 && offsetof(netif_rx_response, status) == 6);
static_assert(ring_shape<netif_rx_sring>().entries == 256);

unsigned first_flags(const Offload& offload) {
  unsigned flags = 0;
  // A blank checksum is as good as a verified one: the frame was on no wire.
  if (offload.checksum_blank) flags |= NETRXF_csum_blank | NETRXF_data_validated;
  if (offload.validated) flags |= NETRXF_data_validated;
  if (offload.segmentation != Segmentation::none) flags |= NETRXF_extra_info;
  return flags;
}

}  // namespace

RxSide::RxSide(GrantedPage ring, GrantAccess& grants)
    : ring_(std::move(ring), ring_shape<netif_rx_sring>()), grants_(grants) {}

std::uint32_t RxSide::slots_for(const Frame& frame) {
  const std::size_t pages = (frame.bytes.size() + page_size - 1) / page_size;
  return static_cast<std::uint32_t>(pages) + (frame.offload.segmentation != Segmentation::none ? 1 : 0);
}

bool RxSide::put(const Frame& frame) {
  bool all = true;
  for (std::size_t at = 0; at < frame.bytes.size(); at += page_size) {
    const auto part = frame.bytes.subspan(at, std::min(page_size, frame.bytes.size() - at));
    const bool is_last = at + part.size() == frame.bytes.size();
    all &= put_part(part, (at == 0 ? first_flags(frame.offload) : 0) | (is_last ? 0 : NETRXF_more_data));
    if (at == 0 && frame.offload.segmentation != Segmentation::none) put_extra(frame.offload);
  }
  return all;
}

bool RxSide::put_part(std::span<const std::byte> part, unsigned flags) {
  netif_rx_request request;
  if (!ring_.take(std::as_writable_bytes(std::span(&request, 1)))) return false;
  auto page = grants_.use(GrantRef(request.gref), GrantUse::write);
  if (page) page->shared().copy_in(0, part);
  const bool written = page.has_value();
  // The frontend may use the frame for anything once it has the response, so the use ends before.
  page = {};
  const netif_rx_response response{
      request.id, 0, static_cast<std::uint16_t>(flags),
      static_cast<std::int16_t>(written ? static_cast<int>(part.size()) : NETIF_RSP_ERROR)};
  ring_.respond(std::as_bytes(std::span(&response, 1)));
  return written;
}

/// It takes the place of a response; the request's frame stays unused.
void RxSide::put_extra(const Offload& offload) {
  netif_rx_request unused;
  if (!ring_.take(std::as_writable_bytes(std::span(&unused, 1)))) return;
  netif_extra_info extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
  extra.u.gso.size = offload.segment_bytes;
  extra.u.gso.type =
      offload.segmentation == Segmentation::tcpv6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
  ring_.respond(std::as_bytes(std::span(&extra, 1)));
}

}  // namespace pinfold::devices::net
