#include "cli/gdb/packet.hpp"

#include <charconv>

namespace pinfold::cli::gdb {
namespace {

constexpr char escape = '}';
constexpr char escaping = 0x20;

std::optional<unsigned> digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

char hex_digit(unsigned value) { return "0123456789abcdef"[value & 15]; }

std::string unescaped(std::string_view wire) {
  std::string payload;
  for (std::size_t i = 0; i < wire.size(); ++i)
    payload += wire[i] == escape && i + 1 < wire.size() ? static_cast<char>(wire[++i] ^ escaping) : wire[i];
  return payload;
}

}  // namespace

std::optional<PacketReader::Event> PacketReader::take(char byte) {
  switch (state_) {
    case State::between:
      if (byte == '\x03') return Event{Event::Kind::interrupt, {}};
      if (byte == '+' || byte == '-') return std::nullopt;
      if (byte != '$') return Event{Event::Kind::foreign, {}};
      break;
    case State::payload:
      if (byte == '#') {
        state_ = State::checksum_high;
        return std::nullopt;
      }
      if (byte == '$') break;  // the rest of the last one was lost
      sum_ = static_cast<std::uint8_t>(sum_ + static_cast<std::uint8_t>(byte));
      if (received_.size() >= longest) return Event{Event::Kind::foreign, {}};
      received_ += byte;
      return std::nullopt;
    case State::checksum_high:
      high_ = digit(byte);
      state_ = State::checksum_low;
      return std::nullopt;
    case State::checksum_low: return finish(digit(byte));
  }
  state_ = State::payload;
  received_.clear();
  sum_ = 0;
  return std::nullopt;
}

PacketReader::Event PacketReader::finish(std::optional<unsigned> low) {
  state_ = State::between;
  const bool whole = high_ && low && (*high_ << 4 | *low) == sum_;
  return whole ? Event{Event::Kind::packet, unescaped(received_)} : Event{Event::Kind::damaged, {}};
}

std::string framed(std::string_view payload) {
  std::string wire = "$";
  std::uint8_t sum = 0;
  const auto put = [&](char c) {
    wire += c;
    sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(c));
  };
  for (const char c : payload) {
    if (c == '#' || c == '$' || c == '*' || c == escape) {
      put(escape);
      put(static_cast<char>(c ^ escaping));
    } else {
      put(c);
    }
  }
  return wire + '#' + hex_digit(sum >> 4U) + hex_digit(sum);
}

std::string hex_of(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto b = static_cast<std::uint8_t>(c);
    text += hex_digit(b >> 4U);
    text += hex_digit(b);
  }
  return text;
}

std::optional<std::string> bytes_of(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const auto high = digit(hex[i]), low = digit(hex[i + 1]);
    if (!high || !low) return std::nullopt;
    bytes += static_cast<char>(*high << 4 | *low);
  }
  return bytes;
}

std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take_prefix(std::string_view& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.remove_prefix(start.size());
  return true;
}

}  // namespace pinfold::cli::gdb
