#include "cli/config/mac.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdint>

namespace pinfold::cli {

std::optional<std::string> canonical_mac(std::string_view text) {
  std::array<std::uint8_t, 6> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto length = std::min(text.find(':'), text.size());
    const auto [end, error] = std::from_chars(text.data(), text.data() + length, bytes[i], 16);
    if (error != std::errc() || end != text.data() + length || length > 2) return std::nullopt;
    text.remove_prefix(length);
    if (text.empty() != (i + 1 == bytes.size())) return std::nullopt;
    if (!text.empty()) text.remove_prefix(1);
  }
  return fmt::format("{:02x}", fmt::join(bytes, ":"));
}

bool is_multicast(std::string_view mac) {
  std::uint8_t first = 0;
  std::from_chars(mac.data(), mac.data() + std::min<std::size_t>(2, mac.size()), first, 16);
  return (first & 1) != 0;
}

std::string mac_of(const vmm::Uuid& uuid, std::size_t index, unsigned attempt) {
  // FNV-1a, then a final mix (that of MurmurHash3), as FNV's high bits depend little on the last bytes. It
  // never changes, because guests know their interfaces by their addresses.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](std::uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const std::uint8_t byte : uuid.bytes) add(byte);
  for (const std::uint64_t number : {static_cast<std::uint64_t>(index), static_cast<std::uint64_t>(attempt)})
    for (unsigned shift = 0; shift < 64; shift += 8) add(static_cast<std::uint8_t>(number >> shift));
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash ^= hash >> 33;
  // As libxl does, the lower half of the range: the upper one is for addresses that people choose.
  return fmt::format("00:16:3e:{:02x}:{:02x}:{:02x}", hash >> 16 & 0x7f, hash >> 8 & 0xff, hash & 0xff);
}

}  // namespace pinfold::cli
