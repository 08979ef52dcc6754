// Numbers as bytes: fixed ones little-endian, others seven bits a byte, low ones first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pinfold::trace {

/// Small numbers of either sign become small numbers: 0, -1, 1, -2, … are 0, 1, 2, 3, …
[[nodiscard]] constexpr std::uint64_t zigzag(std::uint64_t difference) {
  return difference << 1 ^ (difference >> 63 != 0 ? ~0ULL : 0);
}
[[nodiscard]] constexpr std::uint64_t unzigzag(std::uint64_t value) {
  return value >> 1 ^ (value & 1 ? ~0ULL : 0);
}

/// Appends to a buffer.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& to) : to_(to) {}
  void byte(std::uint8_t value) { to_.push_back(std::byte{value}); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) byte(static_cast<std::uint8_t>(value | 0x80));
    byte(static_cast<std::uint8_t>(value));
  }
  void fixed(std::uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) byte(static_cast<std::uint8_t>(value >> (8 * i)));
  }

 private:
  std::vector<std::byte>& to_;
};

/// Reads untrusted bytes. Past the end, or after a malformed number, everything reads as 0 and `failed` stays
/// true.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> from) : from_(from) {}
  [[nodiscard]] std::uint8_t byte() {
    if (at_ == from_.size()) {
      failed_ = true;
      return 0;
    }
    return std::to_integer<std::uint8_t>(from_[at_++]);
  }
  [[nodiscard]] std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      if (shift == 63 && next > 1) break;
      value |= std::uint64_t{next & 0x7fU} << shift;
      if ((next & 0x80) == 0) return value;
    }
    failed_ = true;
    return 0;
  }
  [[nodiscard]] std::uint64_t fixed(unsigned bytes) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) value |= std::uint64_t{byte()} << (8 * i);
    return value;
  }
  /// As varint, for a number that may be `most` at most.
  [[nodiscard]] std::uint64_t bounded(std::uint64_t most) {
    const std::uint64_t value = varint();
    if (value > most) failed_ = true;
    return failed_ ? 0 : value;
  }
  void fail() { failed_ = true; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return at_ == from_.size(); }
  [[nodiscard]] std::size_t offset() const { return at_; }

 private:
  std::span<const std::byte> from_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

}  // namespace pinfold::trace
