#include "devices/net/tx_side.hpp"

#include <cstring>
#include <utility>

#include "devices/net/segmenter.hpp"

namespace pinfold::devices::net {
namespace {

static_assert(sizeof(netif_tx_request) == 12 && offsetof(netif_tx_request, offset) == 4 &&
              offsetof(netif_tx_request, id) == 8 && offsetof(netif_tx_request, size) == 10);
static_assert(sizeof(netif_extra_info) == 8 && sizeof(netif_tx_response) == 4);
static_assert(ring_shape<netif_tx_sring>().entries == 256);

template <class T>
bool take(BackRing& ring, T& request) {
  return ring.take(std::as_writable_bytes(std::span(&request, 1)));
}

/// What the first request's flags and the extra info say; nothing if they contradict the ABI.
std::optional<Offload> offload_of(unsigned flags, const std::optional<netif_extra_info>& gso) {
  Offload offload;
  offload.checksum_blank = (flags & NETTXF_csum_blank) != 0;
  offload.validated = (flags & NETTXF_data_validated) != 0;
  if (!gso) return offload;
  if (gso->u.gso.type == XEN_NETIF_GSO_TYPE_TCPV4)
    offload.segmentation = Segmentation::tcpv4;
  else if (gso->u.gso.type == XEN_NETIF_GSO_TYPE_TCPV6)
    offload.segmentation = Segmentation::tcpv6;
  else
    return std::nullopt;
  if (gso->u.gso.size < least_segment_bytes) return std::nullopt;
  offload.segment_bytes = gso->u.gso.size;
  offload.checksum_blank = true;
  return offload;
}

}  // namespace

TxSide::TxSide(GrantedPage ring, GrantAccess& grants)
    : ring_(std::move(ring), ring_shape<netif_tx_sring>()), grants_(grants) {}

const char* TxSide::fault() const {
  if (fault_ != nullptr) return fault_;
  return ring_.is_broken() ? "the frontend's transmit ring claims more requests than it holds" : nullptr;
}

bool TxSide::break_off(const char* why) {
  fault_ = why;
  ring_.break_off();
  return false;
}

std::optional<Frame> TxSide::next(std::span<std::byte> buffer) {
  for (std::uint32_t looked_at = 0; looked_at < ring_shape<netif_tx_sring>().entries;) {
    const auto chain = take_chain();
    if (!chain) return std::nullopt;
    looked_at += chain->count + chain->extras;
    auto frame = frame_of(*chain, buffer);
    answer(*chain, frame ? NETIF_RSP_OKAY : NETIF_RSP_ERROR);
    if (frame) return frame;
    ++refused_;
  }
  return std::nullopt;
}

/// A frontend shows the requests of a frame all at once.
std::optional<TxSide::Chain> TxSide::take_chain() {
  Chain chain;
  if (!take(ring_, chain.slots[0])) return std::nullopt;
  chain.count = 1;
  if ((chain.slots[0].flags & NETTXF_extra_info) != 0 && !take_extras(chain)) return std::nullopt;
  while ((chain.slots[chain.count - 1].flags & NETTXF_more_data) != 0) {
    if (chain.count == most_slots) {
      break_off("the frontend transmits a frame of too many requests");
      return std::nullopt;
    }
    if (!take(ring_, chain.slots[chain.count])) {
      break_off("the frontend's transmit ring contains only a part of a frame");
      return std::nullopt;
    }
    ++chain.count;
  }
  return chain;
}

bool TxSide::take_extras(Chain& chain) {
  for (bool more = true; more;) {
    netif_extra_info extra;
    if (chain.extras == most_extras)
      return break_off("the frontend transmits a frame of too many extra infos");
    if (!take(ring_, extra)) return break_off("the frontend's transmit ring contains only a part of a frame");
    ++chain.extras;
    if (extra.type == XEN_NETIF_EXTRA_TYPE_NONE || extra.type >= XEN_NETIF_EXTRA_TYPE_MAX)
      return break_off("the frontend transmits an extra info of unknown type");
    if (extra.type == XEN_NETIF_EXTRA_TYPE_GSO)
      chain.gso = extra;
    else
      chain.has_unknown = true;
    more = (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) != 0;
  }
  return true;
}

std::optional<Frame> TxSide::frame_of(const Chain& chain, std::span<std::byte> buffer) {
  const std::size_t bytes = chain.slots[0].size;
  const auto offload = offload_of(chain.slots[0].flags, chain.gso);
  if (chain.has_unknown || !offload || bytes < least_frame_bytes) return std::nullopt;
  const Frame frame{buffer.first(bytes), *offload};
  if (!copy_data(chain, frame.bytes)) return std::nullopt;
  return frame;
}

/// The first request's size is the frame's; its own part is what the others leave.
bool TxSide::copy_data(const Chain& chain, std::span<std::byte> to) {
  std::size_t first = to.size();
  for (std::uint32_t n = 1; n < chain.count; ++n) {
    if (chain.slots[n].size > first) return false;
    first -= chain.slots[n].size;
  }
  std::size_t at = 0;
  for (std::uint32_t n = 0; n < chain.count; ++n) {
    const netif_tx_request& slot = chain.slots[n];
    const std::size_t size = n == 0 ? first : slot.size;
    if (slot.offset > page_size || size > page_size - slot.offset) return false;
    const auto page = grants_.use(GrantRef(slot.gref), GrantUse::read);
    if (!page) return false;
    page->copy_out(slot.offset, to.subspan(at, size));
    at += size;
  }
  return true;
}

/// Extra infos have no ID; their places in the ring are answered all the same.
void TxSide::answer(const Chain& chain, std::int16_t status) {
  const auto respond = [this](std::uint16_t id, std::int16_t what) {
    const netif_tx_response response{id, what};
    ring_.respond(std::as_bytes(std::span(&response, 1)));
  };
  for (std::uint32_t n = 0; n < chain.count; ++n) {
    respond(chain.slots[n].id, status);
    if (n != 0) continue;
    for (std::uint32_t extra = 0; extra < chain.extras; ++extra) respond(0, NETIF_RSP_NULL);
  }
}

}  // namespace pinfold::devices::net
