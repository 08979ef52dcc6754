#include "devices/net/segmenter.hpp"

#include <algorithm>
#include <cstring>

#include "devices/net/checksum.hpp"

namespace pinfold::devices::net {
namespace {

// RFC 9293, 3.1, and RFC 3168.
constexpr std::size_t sequence_at = 4, flags_at = 13;
constexpr std::byte fin{0x01}, psh{0x08}, cwr{0x80};

}  // namespace

bool is_consistent(const Offload& offload, const std::optional<Headers>& headers) {
  if (offload.segmentation == Segmentation::none) return !offload.checksum_blank || headers.has_value();
  return headers && headers->is_tcp && headers->is_ipv6 == (offload.segmentation == Segmentation::tcpv6) &&
         offload.segment_bytes >= least_segment_bytes && headers->payload <= most_header_bytes;
}

std::optional<Segmenter> Segmenter::of(const Frame& frame, std::span<std::byte> scratch) {
  Segmenter segmenter(frame, scratch);
  const Offload& offload = frame.offload;
  if (!offload.checksum_blank && offload.segmentation == Segmentation::none) return segmenter;
  segmenter.headers_ = find_headers(frame.bytes);
  if (!is_consistent(offload, segmenter.headers_)) return std::nullopt;
  return segmenter;
}

std::optional<Frame> Segmenter::next() {
  if (over_) return std::nullopt;
  const Offload& offload = frame_.offload;
  Offload plain;
  plain.validated = offload.validated || offload.checksum_blank;
  const std::size_t payload = headers_ ? headers_->end - headers_->payload : 0;
  if (offload.segmentation == Segmentation::none || payload <= offload.segment_bytes) {
    over_ = true;
    if (headers_) fill_checksum(frame_.bytes, *headers_);
    return Frame{frame_.bytes, plain};
  }
  const std::size_t now = std::min<std::size_t>(payload - done_, offload.segment_bytes);
  const auto segment = scratch_.first(headers_->payload + now);
  std::memcpy(segment.data(), frame_.bytes.data(), headers_->payload);
  std::memcpy(segment.data() + headers_->payload, frame_.bytes.data() + headers_->payload + done_, now);
  over_ = done_ + now == payload;
  write_headers(segment, now, done_ == 0, over_);
  done_ += now;
  return Frame{segment, plain};
}

void Segmenter::write_headers(std::span<std::byte> segment, std::size_t payload, bool first,
                              bool last) const {
  Headers h = *headers_;
  h.end = h.payload + payload;
  if (h.is_ipv6) {
    put16(segment, h.network + 4, static_cast<std::uint32_t>(h.end - h.network - 40));
  } else {
    put16(segment, h.network + 2, static_cast<std::uint32_t>(h.end - h.network));
    const auto number = static_cast<std::uint32_t>(done_ / frame_.offload.segment_bytes);
    put16(segment, h.network + 4, get16(segment, h.network + 4) + number);
    fill_ipv4_checksum(segment, h);
  }
  put32(segment, h.transport + sequence_at,
        get32(segment, h.transport + sequence_at) + static_cast<std::uint32_t>(done_));
  std::byte& flags = segment[h.transport + flags_at];
  if (!first) flags &= ~cwr;
  if (!last) flags &= ~(fin | psh);
  fill_checksum(segment, h);
}

}  // namespace pinfold::devices::net
