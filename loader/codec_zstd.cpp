#include <zstd.h>
#include <zstd_errors.h>

#include "loader/codecs.hpp"

namespace pinfold::loader {

Loaded<std::size_t> unpack_zstd(std::span<const std::byte> packed, const CodecRoom& room) {
  // The whole frame at once: then the output is its own window, and nothing is copied.
  const std::size_t frame = ZSTD_findFrameCompressedSize(packed.data(), packed.size());
  if (ZSTD_isError(frame) != 0) {
    return ZSTD_getErrorCode(frame) == ZSTD_error_srcSize_wrong ? refuse_truncated() : refuse_damaged();
  }
  const std::size_t produced = ZSTD_decompress(room.out.data(), room.limit, packed.data(), frame);
  if (ZSTD_isError(produced) == 0) return produced;
  switch (ZSTD_getErrorCode(produced)) {
    case ZSTD_error_dstSize_tooSmall: return refuse_too_big(room);
    case ZSTD_error_memory_allocation: return refuse("not enough memory");
    default: return refuse_damaged();
  }
}

}  // namespace pinfold::loader
