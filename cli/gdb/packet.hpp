// The frames of GDB's remote serial protocol (GDB manual, appendix E.1): $payload#checksum, acknowledgements,
// and the interrupt byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinfold::cli::gdb {

/// Cuts the input into packets. Keeps at most one packet of `longest` bytes. Input that no debugger sends is
/// reported as `foreign`: a web page, for example, can make a browser send any bytes here, after a line of
/// HTTP.
class PacketReader {
 public:
  static constexpr std::size_t longest = 0x4000;  ///< Bytes of a payload, as on the wire.

  struct Event {
    enum class Kind : std::uint8_t {
      packet,     ///< A whole one; `payload` is unescaped.
      interrupt,  ///< The byte 3, outside of packets.
      damaged,    ///< A packet whose checksum is wrong.
      foreign,    ///< A byte between packets that is none of the protocol's, or a packet that is too long.
    };
    Kind kind;
    std::string payload;
  };
  /// Can a debugger's connection begin with this byte?
  [[nodiscard]] static bool begins(char byte) { return byte == '+' || byte == '$' || byte == '\x03'; }
  /// Takes one byte; what it completes, if anything. Acknowledgements between packets are dropped.
  [[nodiscard]] std::optional<Event> take(char byte);

 private:
  enum class State : std::uint8_t { between, payload, checksum_high, checksum_low };
  [[nodiscard]] Event finish(std::optional<unsigned> low);
  State state_ = State::between;
  std::string received_;
  std::uint8_t sum_ = 0;
  std::optional<unsigned> high_;
};

/// With escapes and checksum.
[[nodiscard]] std::string framed(std::string_view payload);

/// Two digits a byte, as most packets have their data.
[[nodiscard]] std::string hex_of(std::string_view bytes);
/// nullopt: an odd number of digits, or something that is none.
[[nodiscard]] std::optional<std::string> bytes_of(std::string_view hex);
/// A hexadecimal number at the start of `text`, which is shortened by it. nullopt: none, or one of more than
/// 64 bits.
[[nodiscard]] std::optional<std::uint64_t> take_number(std::string_view& text);
/// Shortens `text` by `start`, if it begins so.
[[nodiscard]] bool take_prefix(std::string_view& text, std::string_view start);

}  // namespace pinfold::cli::gdb
