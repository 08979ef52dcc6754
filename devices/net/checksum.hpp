// Internet checksums (RFC 1071), for peers that don't take frames with blank ones.
#pragma once

#include <cstdint>
#include <span>

#include "devices/net/headers.hpp"

namespace pinfold::devices::net {

/// The ones' complement sum of the bytes as 16-bit numbers, most significant byte first, and of `start`; a
/// last odd byte counts as if a zero followed. Not inverted.
[[nodiscard]] std::uint16_t sum16(std::span<const std::byte> bytes, std::uint32_t start = 0);

/// The sum of the pseudo-header (RFC 9293, RFC 768, RFC 8200) for a transport packet of `bytes`.
[[nodiscard]] std::uint16_t pseudo_header_sum(std::span<const std::byte> frame, const Headers& headers,
                                              std::size_t bytes);

/// Computes the transport checksum from all that it covers, whatever the field has now.
void fill_checksum(std::span<std::byte> frame, const Headers& headers);
/// Writes the sum of the pseudo-header into the field: the form in which Linux takes a blank checksum.
void blank_checksum(std::span<std::byte> frame, const Headers& headers);
/// Computes the checksum of an IPv4 header.
void fill_ipv4_checksum(std::span<std::byte> frame, const Headers& headers);

}  // namespace pinfold::devices::net
