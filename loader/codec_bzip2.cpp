#include <bzlib.h>

#include <algorithm>

#include "loader/codecs.hpp"

namespace pinfold::loader {

Loaded<std::size_t> unpack_bzip2(std::span<const std::byte> packed, const CodecRoom& room) {
  constexpr std::size_t step = std::size_t{2} << 20;
  bz_stream stream{};
  if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK) return refuse("not enough memory");
  // libbz2's interface lacks the const; it only reads from next_in.
  stream.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(packed.data()));
  stream.avail_in = static_cast<unsigned>(packed.size());

  int state = BZ_OK;
  std::size_t produced = 0;
  bool stuck = false;
  while (state == BZ_OK && produced <= room.limit && !stuck) {
    const std::size_t space = std::min(step, room.out.size() - produced);
    stream.next_out = reinterpret_cast<char*>(room.out.data() + produced);
    stream.avail_out = static_cast<unsigned>(space);
    state = BZ2_bzDecompress(&stream);
    produced += space - stream.avail_out;
    // At the end of its input libbz2 goes on to say that all is well.
    stuck = stream.avail_in == 0 && stream.avail_out != 0;
    room.consumed(packed.size() - stream.avail_in);
  }
  BZ2_bzDecompressEnd(&stream);
  if (produced > room.limit) return refuse_too_big(room);
  switch (state) {
    case BZ_STREAM_END: return produced;
    case BZ_OK: return refuse_truncated();
    case BZ_MEM_ERROR: return refuse("not enough memory");
    default: return refuse_damaged();
  }
}

}  // namespace pinfold::loader
