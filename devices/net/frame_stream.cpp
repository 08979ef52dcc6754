#include "devices/net/frame_stream.hpp"

#include <cstring>

#include "devices/net/headers.hpp"

namespace pinfold::devices::net {

std::array<std::byte, frame_length_bytes> frame_length(std::size_t bytes) {
  std::array<std::byte, frame_length_bytes> length{};
  put32(length, 0, static_cast<std::uint32_t>(bytes));
  return length;
}

std::span<std::byte> FrameStream::space() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ != 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(buffer_).subspan(end_);
}

std::optional<std::span<std::byte>> FrameStream::next() {
  while (!broken_ && end_ - begin_ >= frame_length_bytes) {
    const std::size_t length = get32(buffer_, begin_);
    if (length == 0 || length > most_frame_bytes) {
      broken_ = true;
      break;
    }
    if (end_ - begin_ - frame_length_bytes < length) break;
    const auto frame = std::span(buffer_).subspan(begin_ + frame_length_bytes, length);
    begin_ += frame_length_bytes + length;
    if (length >= least_frame_bytes) return frame;
  }
  return std::nullopt;
}

}  // namespace pinfold::devices::net
