// Compressed kernels: the formats that Linux packs its bzImage payload with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "loader/buffer.hpp"
#include "loader/load_error.hpp"

namespace pinfold::loader {

/// What an image may unpack to. Where a decompression bomb stops.
inline constexpr std::size_t max_unpacked_bytes = std::size_t{1} << 30;

enum class Packing : std::uint8_t { none, gzip, xz, lzma, lz4_legacy, zstd, bzip2, lzo };

/// Told by the first bytes (Linux, Documentation/x86/boot.rst, payload_offset). `none`: no known magic.
[[nodiscard]] Packing packing_of(std::span<const std::byte> packed);
[[nodiscard]] const char* name_of(Packing packing);

/// Unpacks one stream; what follows its end is ignored. Errors: a format that is known but not supported,
/// damaged or truncated data, a result over `limit` bytes, no memory.
[[nodiscard]] Loaded<Buffer> unpack(std::span<const std::byte> packed, const Progress& progress,
                                    std::size_t limit = max_unpacked_bytes);

}  // namespace pinfold::loader
