// One function per compression library; unpack.cpp chooses among them.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "loader/load_error.hpp"

namespace pinfold::loader {

/// Where a codec writes: `out` is larger than `limit`, by at least `codec_slack`, to distinguish a result
/// that is too long from one that just fits.
struct CodecRoom {
  std::span<std::byte> out;
  std::size_t limit;
  /// Called with the packed bytes used so far.
  std::function<void(std::size_t)> consumed;
};

/// Uncompressed size of every block of a legacy LZ4 frame but the last (lz4, doc/lz4_Frame_format.md).
inline constexpr std::size_t lz4_legacy_block = std::size_t{8} << 20;
inline constexpr std::size_t codec_slack = lz4_legacy_block;

/// Each returns the number of bytes produced, at most `room.limit`.
[[nodiscard]] Loaded<std::size_t> unpack_gzip(std::span<const std::byte> packed, const CodecRoom& room);
[[nodiscard]] Loaded<std::size_t> unpack_xz(std::span<const std::byte> packed, const CodecRoom& room);
[[nodiscard]] Loaded<std::size_t> unpack_lzma(std::span<const std::byte> packed, const CodecRoom& room);
[[nodiscard]] Loaded<std::size_t> unpack_lz4_legacy(std::span<const std::byte> packed, const CodecRoom& room);
[[nodiscard]] Loaded<std::size_t> unpack_bzip2(std::span<const std::byte> packed, const CodecRoom& room);
[[nodiscard]] Loaded<std::size_t> unpack_zstd(std::span<const std::byte> packed, const CodecRoom& room);

[[nodiscard]] inline tl::unexpected<LoadError> refuse_too_big(const CodecRoom& room) {
  return refuse("unpacks to more than " + std::to_string(room.limit >> 20) + " MiB");
}
[[nodiscard]] inline tl::unexpected<LoadError> refuse_damaged() {
  return refuse("compressed data is damaged");
}
[[nodiscard]] inline tl::unexpected<LoadError> refuse_truncated() {
  return refuse("compressed data is truncated");
}

}  // namespace pinfold::loader
