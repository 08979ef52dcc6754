#include "vmm/uuid.hpp"

#include <sys/random.h>

namespace pinfold::vmm {
namespace {

constexpr std::string_view pattern = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
constexpr std::string_view digits = "0123456789abcdef";

std::optional<std::uint8_t> digit(char c) {
  if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  const std::size_t value = digits.find(c);
  return value < digits.size() ? std::optional(static_cast<std::uint8_t>(value)) : std::nullopt;
}

}  // namespace

std::optional<Uuid> Uuid::random() {
  Uuid uuid;
  if (::getrandom(uuid.bytes.data(), uuid.bytes.size(), 0) != static_cast<ssize_t>(uuid.bytes.size()))
    return std::nullopt;
  // RFC 4122, section 4.4: version 4, variant 10.
  uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != pattern.size()) return std::nullopt;
  Uuid uuid;
  std::size_t nibble = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (pattern[i] == '-') {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const auto value = digit(text[i]);
    if (!value) return std::nullopt;
    std::uint8_t& byte = uuid.bytes[nibble++ / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | *value);
  }
  if (uuid == Uuid()) return std::nullopt;
  return uuid;
}

std::string Uuid::text() const {
  std::string text(pattern);
  std::size_t nibble = 0;
  for (char& c : text) {
    if (c == '-') continue;
    const unsigned byte = bytes[nibble / 2];
    c = digits[nibble++ % 2 == 0 ? byte >> 4 : byte & 15];
  }
  return text;
}

}  // namespace pinfold::vmm
