// The headers of a frame, as far as checksums and segmentation need them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace pinfold::devices::net {

/// A 16-bit number of a network header, most significant byte first. The caller has checked the size.
[[nodiscard]] inline std::uint16_t get16(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8U |
                                    std::to_integer<unsigned>(bytes[at + 1]));
}
inline void put16(std::span<std::byte> bytes, std::size_t at, std::uint32_t value) {
  bytes[at] = static_cast<std::byte>(value >> 8U);
  bytes[at + 1] = static_cast<std::byte>(value);
}
[[nodiscard]] inline std::uint32_t get32(std::span<const std::byte> bytes, std::size_t at) {
  return std::uint32_t{get16(bytes, at)} << 16U | get16(bytes, at + 2);
}
inline void put32(std::span<std::byte> bytes, std::size_t at, std::uint32_t value) {
  put16(bytes, at, value >> 16U);
  put16(bytes, at + 2, value);
}

/// Where a TCP or UDP packet has what. All offsets are bytes from the frame's start and lie within the frame.
struct Headers {
  bool is_ipv6 = false;
  bool is_tcp = false;        ///< Else UDP.
  std::size_t network = 0;    ///< The IP header.
  std::size_t transport = 0;  ///< The TCP or UDP header.
  std::size_t checksum = 0;   ///< The field, in the transport header.
  std::size_t payload = 0;    ///< Behind the transport header.
  std::size_t end = 0;        ///< Behind the IP packet; what follows in the frame is padding.
};

/// Finds the headers of a TCP or UDP packet, behind at most two VLAN tags. Nothing for any other frame, for a
/// fragment of an IP packet (it has no checksum of its own), and for one whose lengths contradict each other
/// or the frame.
[[nodiscard]] std::optional<Headers> find_headers(std::span<const std::byte> frame);

}  // namespace pinfold::devices::net
