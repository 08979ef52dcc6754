#include "devices/net/tap_lane.hpp"

#include <sys/uio.h>

#include <array>
#include <cerrno>

#include "devices/net/checksum.hpp"

namespace pinfold::devices::net {
namespace {

/// virtio_net_hdr and its constants (linux/virtio_net.h, which C++ does not understand).
struct TapHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
};
static_assert(sizeof(TapHeader) == 10);
constexpr std::uint8_t needs_checksum = 1, data_valid = 2;
constexpr std::uint8_t gso_none = 0, gso_tcpv4 = 1, gso_tcpv6 = 4, gso_ecn = 0x80;

TapHeader header_for(const Frame& frame) {
  TapHeader header{};
  const Offload& offload = frame.offload;
  if (offload.validated && !offload.checksum_blank) header.flags = data_valid;
  if (!offload.checksum_blank) return header;
  const auto h = find_headers(frame.bytes);
  if (!h) return header;
  blank_checksum(frame.bytes, *h);
  header.flags = needs_checksum;
  header.csum_start = static_cast<std::uint16_t>(h->transport);
  header.csum_offset = static_cast<std::uint16_t>(h->checksum - h->transport);
  if (offload.segmentation == Segmentation::none) return header;
  header.gso_type = offload.segmentation == Segmentation::tcpv6 ? gso_tcpv6 : gso_tcpv4;
  header.gso_size = offload.segment_bytes;
  header.hdr_len = static_cast<std::uint16_t>(h->payload);
  return header;
}

/// For a packet whose checksum is not where a guest would look for it: in a tunnel, or of another protocol.
void fill_anywhere(std::span<std::byte> frame, const TapHeader& header) {
  const std::size_t start = header.csum_start, field = start + header.csum_offset;
  if (field + 2 > frame.size()) return;
  put16(frame, field, static_cast<std::uint16_t>(~sum16(frame.subspan(start))));
}

/// What the host left to do; nothing for a frame that is not what its header says.
std::optional<Offload> offload_of(std::span<std::byte> frame, const TapHeader& header) {
  Offload offload;
  offload.validated = (header.flags & data_valid) != 0;
  if ((header.flags & needs_checksum) == 0) return offload;
  const auto h = find_headers(frame);
  const bool usual =
      h && header.csum_start == h->transport && header.csum_offset == h->checksum - h->transport;
  const unsigned gso = header.gso_type & ~unsigned{gso_ecn};
  if (gso == gso_none && !usual) {
    fill_anywhere(frame, header);
    return offload;
  }
  if (!usual) return std::nullopt;
  offload.checksum_blank = true;
  if (gso == gso_none) return offload;
  if (gso != gso_tcpv4 && gso != gso_tcpv6) return std::nullopt;
  offload.segmentation = gso == gso_tcpv6 ? Segmentation::tcpv6 : Segmentation::tcpv4;
  offload.segment_bytes = header.gso_size;
  return offload;
}

}  // namespace

void TapLane::send(const Frame& frame) {
  TapHeader header = header_for(frame);
  const std::array<iovec, 2> parts{iovec{&header, sizeof header},
                                   iovec{frame.bytes.data(), frame.bytes.size()}};
  while (::writev(queue_.get(), parts.data(), parts.size()) < 0 && errno == EINTR) {
  }
}

std::optional<Frame> TapLane::receive() {
  for (;;) {
    TapHeader header{};
    const std::array<iovec, 2> parts{iovec{&header, sizeof header}, iovec{buffer_.data(), buffer_.size()}};
    const ssize_t n = ::readv(queue_.get(), parts.data(), parts.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) gone_ = true;
    if (n < static_cast<ssize_t>(sizeof header + least_frame_bytes)) return std::nullopt;
    const auto bytes = std::span(buffer_).first(static_cast<std::size_t>(n) - sizeof header);
    if (const auto offload = offload_of(bytes, header)) return Frame{bytes, *offload};
  }
}

}  // namespace pinfold::devices::net
