#include "devices/net/headers.hpp"
#include "net_fakes.hpp"

namespace pinfold::devices::net {

Bytes make_packet(const PacketShape& shape) {
  const std::size_t network = 14 + 4 * shape.vlan_tags, ip = shape.ipv6 ? 40 : 20;
  const std::size_t transport = network + ip, header = shape.tcp ? 20 + shape.tcp_options : 8;
  Bytes frame(transport + header + shape.payload);
  for (std::size_t tag = 0; tag < shape.vlan_tags; ++tag) put16(frame, 12 + 4 * tag, 0x8100);
  put16(frame, network - 2, shape.ipv6 ? 0x86dd : 0x0800);
  const auto length = static_cast<std::uint32_t>(header + shape.payload);
  frame[network] = std::byte(shape.ipv6 ? 0x60 : 0x45);
  if (shape.ipv6) {
    put16(frame, network + 4, length);
    frame[network + 6] = std::byte(shape.tcp ? 6 : 17);
  } else {
    put16(frame, network + 2, length + 20);
    put16(frame, network + 4, 77);
    frame[network + 9] = std::byte(shape.tcp ? 6 : 17);
  }
  // Addresses.
  for (std::size_t at = network + (shape.ipv6 ? 8 : 12); at < transport; ++at) frame[at] = std::byte(at);
  put32(frame, transport, 0x12345678);
  if (shape.tcp) {
    put32(frame, transport + 4, 1000);
    frame[transport + 12] = std::byte((header / 4) << 4U);
    frame[transport + 13] = std::byte(0x99);  // FIN, PSH, ACK, CWR
  } else {
    put16(frame, transport + 4, length);
  }
  for (std::size_t n = 0; n < shape.payload; ++n) frame[transport + header + n] = std::byte(n * 7 + n / 256);
  return frame;
}

}  // namespace pinfold::devices::net
