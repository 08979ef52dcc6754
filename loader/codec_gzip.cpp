#include <zlib.h>

#include <algorithm>

#include "loader/codecs.hpp"

namespace pinfold::loader {

Loaded<std::size_t> unpack_gzip(std::span<const std::byte> packed, const CodecRoom& room) {
  constexpr std::size_t step = std::size_t{4} << 20;
  constexpr int gzip_only = 16 + MAX_WBITS;
  z_stream stream{};
  if (inflateInit2(&stream, gzip_only) != Z_OK) return refuse("not enough memory");
  // zlib's interface lacks the const; it only reads from next_in.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());

  int state = Z_OK;
  std::size_t produced = 0;
  while (state == Z_OK && produced <= room.limit) {
    const std::size_t space = std::min(step, room.out.size() - produced);
    stream.next_out = reinterpret_cast<Bytef*>(room.out.data() + produced);
    stream.avail_out = static_cast<uInt>(space);
    state = inflate(&stream, Z_NO_FLUSH);
    produced += space - stream.avail_out;
    room.consumed(packed.size() - stream.avail_in);
  }
  inflateEnd(&stream);
  if (produced > room.limit) return refuse_too_big(room);
  if (state == Z_BUF_ERROR) return refuse_truncated();
  if (state == Z_MEM_ERROR) return refuse("not enough memory");
  if (state != Z_STREAM_END) return refuse_damaged();
  return produced;
}

}  // namespace pinfold::loader
