// An Ethernet frame on its way between a guest and the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pinfold::devices::net {

/// The largest IP packet (65,535 bytes) behind the longest header that is used: Ethernet's, with a VLAN tag.
inline constexpr std::size_t most_frame_bytes = 65'535 + 18;
/// An Ethernet header.
inline constexpr std::size_t least_frame_bytes = 14;

enum class Segmentation : std::uint8_t { none, tcpv4, tcpv6 };

/// What is left to do about a frame, by whoever gets it.
struct Offload {
  /// The TCP or UDP checksum is blank. Nothing is assumed about the field's content.
  bool checksum_blank = false;
  /// The checksum was verified, or the frame never was on a wire.
  bool validated = false;
  /// The frame is a large TCP packet, which stands for several packets of at most `segment_bytes` payload.
  /// Its checksum is blank then.
  Segmentation segmentation = Segmentation::none;
  std::uint16_t segment_bytes = 0;
};

/// The bytes are the holder's to change. They are never a guest's memory.
struct Frame {
  std::span<std::byte> bytes;
  Offload offload;
};

}  // namespace pinfold::devices::net
