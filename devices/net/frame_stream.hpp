// Frames in a stream of bytes: each behind its length, 32 bits, most significant byte first. That is the
// framing of passt(1) and of QEMU's `-netdev stream`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "devices/net/frame.hpp"

namespace pinfold::devices::net {

inline constexpr std::size_t frame_length_bytes = 4;

/// The length that stands before a frame in the stream.
[[nodiscard]] std::array<std::byte, frame_length_bytes> frame_length(std::size_t bytes);

/// Takes a stream apart. The peer may send anything: a length of 0, or one that no frame has, breaks the
/// stream, because nothing says where the next frame begins. Frames that are shorter than an Ethernet header
/// are left out.
///
/// Not thread-safe.
class FrameStream {
 public:
  FrameStream() : buffer_(capacity) {}

  /// Where the next bytes of the stream go; never empty while next() has returned nothing. Invalidates
  /// frames.
  [[nodiscard]] std::span<std::byte> space();
  /// So many bytes were put there.
  void add(std::size_t bytes) { end_ += bytes; }
  /// The next frame, valid until space() is called; nothing if it is not there whole.
  [[nodiscard]] std::optional<std::span<std::byte>> next();
  [[nodiscard]] bool is_broken() const { return broken_; }
  /// For another stream.
  void clear() {
    begin_ = end_ = 0;
    broken_ = false;
  }

 private:
  /// Several frames come with one system call.
  static constexpr std::size_t capacity = 256 * 1024;
  static_assert(capacity > frame_length_bytes + most_frame_bytes);

  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0, end_ = 0;  ///< What was not given out.
  bool broken_ = false;
};

}  // namespace pinfold::devices::net
