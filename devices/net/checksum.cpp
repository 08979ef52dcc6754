#include "devices/net/checksum.hpp"

#include <netinet/in.h>

#include <bit>
#include <cstring>

namespace pinfold::devices::net {
namespace {

std::uint16_t folded(std::uint64_t sum) {
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

std::uint16_t sum16(std::span<const std::byte> bytes, std::uint32_t start) {
  // The sum does not depend on the byte order in which it is computed, but for the order of its result (RFC
  // 1071, 2.B). 32 bits at a time leave room for 2^32 of them.
  std::uint64_t sum = 0;
  std::size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4) {
    std::uint32_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    sum += word;
  }
  std::uint32_t rest = 0;
  if (at < bytes.size()) std::memcpy(&rest, bytes.data() + at, bytes.size() - at);
  std::uint16_t result = folded(sum + rest);
  if constexpr (std::endian::native == std::endian::little)
    result = static_cast<std::uint16_t>(result << 8U | result >> 8U);
  return folded(std::uint64_t{result} + start);
}

std::uint16_t pseudo_header_sum(std::span<const std::byte> frame, const Headers& h, std::size_t bytes) {
  const auto addresses = h.is_ipv6 ? frame.subspan(h.network + 8, 32) : frame.subspan(h.network + 12, 8);
  const std::uint32_t protocol = h.is_tcp ? IPPROTO_TCP : IPPROTO_UDP;
  return sum16(addresses, protocol + static_cast<std::uint32_t>(bytes));
}

void fill_checksum(std::span<std::byte> frame, const Headers& h) {
  const auto packet = frame.subspan(h.transport, h.end - h.transport);
  put16(frame, h.checksum, 0);
  auto sum = static_cast<std::uint16_t>(~sum16(packet, pseudo_header_sum(frame, h, packet.size())));
  // 0 says that there is none (RFC 768).
  if (!h.is_tcp && sum == 0) sum = 0xffff;
  put16(frame, h.checksum, sum);
}

void blank_checksum(std::span<std::byte> frame, const Headers& h) {
  put16(frame, h.checksum, pseudo_header_sum(frame, h, h.end - h.transport));
}

void fill_ipv4_checksum(std::span<std::byte> frame, const Headers& h) {
  put16(frame, h.network + 10, 0);
  const auto header =
      frame.subspan(h.network, (std::to_integer<std::size_t>(frame[h.network]) & 15U) * std::size_t{4});
  put16(frame, h.network + 10, static_cast<std::uint16_t>(~sum16(header)));
}

}  // namespace pinfold::devices::net
