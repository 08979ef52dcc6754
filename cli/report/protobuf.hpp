// Messages in the wire format of Protocol Buffers (protobuf.dev, "Encoding"): as much of it as is needed to
// write numbers, strings and messages in messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pinfold::report {

/// A message that grows field by field. Numbers of fields are those of the message's public definition.
class ProtoMessage {
 public:
  ProtoMessage& number(unsigned field, std::uint64_t value) {
    key(field, varint_type);
    varint(value);
    return *this;
  }
  ProtoMessage& text(unsigned field, std::string_view value) {
    key(field, length_type);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  ProtoMessage& message(unsigned field, const ProtoMessage& value) { return text(field, value.bytes_); }

  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  void clear() { bytes_.clear(); }

 private:
  static constexpr unsigned varint_type = 0, length_type = 2;
  void key(unsigned field, unsigned type) { varint(field << 3 | type); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }

  std::string bytes_;
};

}  // namespace pinfold::report
