// Large TCP packets cut into packets of a link's size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "devices/net/frame.hpp"
#include "devices/net/headers.hpp"

namespace pinfold::devices::net {

/// The least payload of a segment that is accepted: what a link of 68 bytes, the smallest that there is (RFC
/// 791), leaves for it is less than any TCP uses. It bounds the work for one frame.
inline constexpr std::uint16_t least_segment_bytes = 48;
/// The longest headers of a frame that is cut: each segment gets a copy of them.
inline constexpr std::size_t most_header_bytes = 256;

/// Prepares a frame for a peer that takes neither blank checksums nor large packets: gives out the packets
/// that the frame stands for, each with its checksums.
///
/// Not thread-safe.
class Segmenter {
 public:
  /// Frame and `scratch`, which is as large as the frame, stay until all segments were given out. Nothing if
  /// the frame is not what its offload says.
  [[nodiscard]] static std::optional<Segmenter> of(const Frame& frame, std::span<std::byte> scratch);

  /// The next segment, valid until the next call; nothing after the last one.
  [[nodiscard]] std::optional<Frame> next();

 private:
  Segmenter(const Frame& frame, std::span<std::byte> scratch) : frame_(frame), scratch_(scratch) {}
  void write_headers(std::span<std::byte> segment, std::size_t payload, bool first, bool last) const;

  Frame frame_;
  std::span<std::byte> scratch_;
  std::optional<Headers> headers_;  ///< Of a frame that is to be cut, or whose checksum is blank.
  std::size_t done_ = 0;            ///< Payload bytes.
  bool over_ = false;
};

/// Is a frame's offload what its headers say? A frame whose checksum is blank is a TCP or UDP packet; a large
/// one is a TCP packet of the right version, with segments that are not too small and headers that are not
/// too long.
[[nodiscard]] bool is_consistent(const Offload& offload, const std::optional<Headers>& headers);

}  // namespace pinfold::devices::net
