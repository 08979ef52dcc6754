// The legacy LZ4 frame (lz4, doc/lz4_Frame_format.md): a magic, then blocks of {le32 packed size, data}, each
// but the last unpacking to 8 MiB. It has neither an end mark nor a checksum.
#include <lz4.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "loader/codecs.hpp"

namespace pinfold::loader {
namespace {

std::uint32_t le32_at(std::span<const std::byte> bytes) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

Loaded<std::size_t> unpack_lz4_legacy(std::span<const std::byte> packed, const CodecRoom& room) {
  constexpr std::size_t word = sizeof(std::uint32_t);
  auto rest = packed.subspan(word);
  std::size_t produced = 0;
  // A bzImage payload ends in the unpacked size: a last single word is that, not a block.
  while (rest.size() > word) {
    const std::size_t length = le32_at(rest);
    rest = rest.subspan(word);
    if (length > rest.size()) return refuse_truncated();
    if (length == 0 || length > static_cast<std::size_t>(LZ4_compressBound(lz4_legacy_block)))
      return refuse_damaged();
    const int n = LZ4_decompress_safe(reinterpret_cast<const char*>(rest.data()),
                                      reinterpret_cast<char*>(room.out.data() + produced),
                                      static_cast<int>(length), static_cast<int>(lz4_legacy_block));
    if (n <= 0) return refuse_damaged();
    produced += static_cast<std::size_t>(n);
    if (produced > room.limit) return refuse_too_big(room);
    rest = rest.subspan(length);
    room.consumed(packed.size() - rest.size());
  }
  if (produced == 0 || (!rest.empty() && rest.size() != word)) return refuse_truncated();
  return produced;
}

}  // namespace pinfold::loader
