#include "cli/visible_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>

namespace pinfold::cli {
namespace {

struct Character {
  std::uint32_t code;
  std::size_t bytes;
};

/// The first character of UTF-8 (RFC 3629, section 4); nullopt: its first byte begins none.
std::optional<Character> first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return Character{lead, 1};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return std::nullopt;
  std::uint32_t code = lead & (0x7fU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return std::nullopt;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  constexpr std::uint32_t least_of_three = 0x800, least_of_four = 0x10000, most = 0x10ffff;
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if ((bytes == 3 && code < least_of_three) || (bytes == 4 && code < least_of_four) || code > most ||
      surrogate)
    return std::nullopt;
  return Character{code, bytes};
}

/// Of the Unicode standard: general categories Zl and Zp, and Bidi_Control.
bool hides_or_reorders(std::uint32_t code) {
  return (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0x061c;
}

std::string escaped(std::uint32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\t') return "\\t";
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return fmt::format("\\x{:02x}", code);
  return fmt::format("\\u{{{:x}}}", code);
}

bool is_plain(std::uint32_t code) {
  return code >= 0x20 && !(code >= 0x7f && code < 0xa0) && !hides_or_reorders(code);
}

}  // namespace

std::string visible(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto character = first_character(text);
    const std::size_t bytes = character ? character->bytes : 1;
    if (!character)
      out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text.front()));
    else if (is_plain(character->code))
      out += text.substr(0, bytes);
    else
      out += escaped(character->code);
    text.remove_prefix(bytes);
  }
  return out;
}

std::string visible_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out += visible(text.substr(0, end));
    if (end < text.size()) out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace pinfold::cli
