#include "devices/net/headers.hpp"

#include <linux/if_ether.h>
#include <netinet/in.h>

#include "devices/net/frame.hpp"

namespace pinfold::devices::net {
namespace {

constexpr std::size_t ipv4_bytes = 20, ipv6_bytes = 40, udp_bytes = 8, tcp_bytes = 20;
constexpr unsigned most_vlan_tags = 2, most_extensions = 8;

using Bytes = std::span<const std::byte>;

unsigned get8(Bytes bytes, std::size_t at) { return std::to_integer<unsigned>(bytes[at]); }

/// The EtherType, and where the packet behind it starts.
struct Ether {
  std::uint16_t type = 0;
  std::size_t packet = 0;
};
std::optional<Ether> find_packet(Bytes frame) {
  std::size_t at = 2 * ETH_ALEN;
  for (unsigned tag = 0; tag <= most_vlan_tags; ++tag, at += 4) {
    if (frame.size() < at + 2) return std::nullopt;
    const std::uint16_t type = get16(frame, at);
    if (type != ETH_P_8021Q && type != ETH_P_8021AD) return Ether{type, at + 2};
  }
  return std::nullopt;
}

/// RFC 791. Sets network, transport and end; the protocol.
std::optional<unsigned> find_in_ipv4(Bytes frame, Headers& h) {
  if (frame.size() < h.network + ipv4_bytes || get8(frame, h.network) >> 4U != 4) return std::nullopt;
  const std::size_t header = (get8(frame, h.network) & 15U) * 4U, total = get16(frame, h.network + 2);
  if (header < ipv4_bytes || total < header || h.network + total > frame.size()) return std::nullopt;
  // MF, or an offset.
  if ((get16(frame, h.network + 6) & 0x3fffU) != 0) return std::nullopt;
  h.transport = h.network + header;
  h.end = h.network + total;
  return get8(frame, h.network + 9);
}

/// RFC 8200. Extension headers without a fragment header, a few of them.
std::optional<unsigned> find_in_ipv6(Bytes frame, Headers& h) {
  if (frame.size() < h.network + ipv6_bytes || get8(frame, h.network) >> 4U != 6) return std::nullopt;
  h.end = h.network + ipv6_bytes + get16(frame, h.network + 4);
  if (h.end > frame.size()) return std::nullopt;
  unsigned next = get8(frame, h.network + 6);
  h.transport = h.network + ipv6_bytes;
  for (unsigned n = 0; n < most_extensions; ++n) {
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) return next;
    if (h.transport + 8 > h.end) return std::nullopt;
    next = get8(frame, h.transport);
    h.transport += 8 * (get8(frame, h.transport + 1) + std::size_t{1});
  }
  return std::nullopt;
}

bool find_in_transport(Bytes frame, unsigned protocol, Headers& h) {
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return false;
  h.is_tcp = protocol == IPPROTO_TCP;
  if (h.transport + (h.is_tcp ? tcp_bytes : udp_bytes) > h.end) return false;
  const std::size_t header = h.is_tcp ? (get8(frame, h.transport + 12) >> 4U) * std::size_t{4} : udp_bytes;
  h.payload = h.transport + header;
  h.checksum = h.transport + (h.is_tcp ? 16 : 6);
  return header >= (h.is_tcp ? tcp_bytes : udp_bytes) && h.payload <= h.end;
}

}  // namespace

std::optional<Headers> find_headers(Bytes frame) {
  const auto ether = find_packet(frame);
  if (!ether || (ether->type != ETH_P_IP && ether->type != ETH_P_IPV6)) return std::nullopt;
  Headers h;
  h.is_ipv6 = ether->type == ETH_P_IPV6;
  h.network = ether->packet;
  const auto protocol = h.is_ipv6 ? find_in_ipv6(frame, h) : find_in_ipv4(frame, h);
  if (!protocol || !find_in_transport(frame, *protocol, h)) return std::nullopt;
  return h;
}

}  // namespace pinfold::devices::net
