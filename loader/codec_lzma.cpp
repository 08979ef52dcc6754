#include <lzma.h>

#include <algorithm>
#include <cstdint>

#include "loader/codecs.hpp"

namespace pinfold::loader {
namespace {

// Linux packs with dictionaries of 32 to 128 MiB. The decoder allocates what the header asks for.
constexpr std::uint64_t max_decoder_memory = std::uint64_t{256} << 20;

const std::uint8_t* in_bytes(const std::byte* p) { return reinterpret_cast<const std::uint8_t*>(p); }
std::uint8_t* out_bytes(std::byte* p) { return reinterpret_cast<std::uint8_t*>(p); }

/// Runs a decoder that was set up; frees it.
Loaded<std::size_t> run(lzma_stream& stream, std::span<const std::byte> packed, const CodecRoom& room) {
  constexpr std::size_t step = std::size_t{2} << 20;
  stream.next_in = in_bytes(packed.data());
  stream.avail_in = packed.size();
  lzma_ret state = LZMA_OK;
  std::size_t produced = 0;
  while (state == LZMA_OK && produced <= room.limit) {
    const std::size_t space = std::min(step, room.out.size() - produced);
    stream.next_out = out_bytes(room.out.data() + produced);
    stream.avail_out = space;
    state = lzma_code(&stream, LZMA_FINISH);
    produced += space - stream.avail_out;
    room.consumed(packed.size() - stream.avail_in);
  }
  lzma_end(&stream);
  if (produced > room.limit) return refuse_too_big(room);
  switch (state) {
    case LZMA_STREAM_END: return produced;
    case LZMA_BUF_ERROR: return refuse_truncated();
    case LZMA_MEM_ERROR: return refuse("not enough memory");
    case LZMA_MEMLIMIT_ERROR: return refuse("needs a dictionary of more than 256 MiB");
    case LZMA_OPTIONS_ERROR: return refuse("uses a filter that is not supported");
    default: return refuse_damaged();
  }
}

}  // namespace

Loaded<std::size_t> unpack_xz(std::span<const std::byte> packed, const CodecRoom& room) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, max_decoder_memory, 0) != LZMA_OK) return refuse("not enough memory");
  return run(stream, packed, room);
}

Loaded<std::size_t> unpack_lzma(std::span<const std::byte> packed, const CodecRoom& room) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_alone_decoder(&stream, max_decoder_memory) != LZMA_OK) return refuse("not enough memory");
  return run(stream, packed, room);
}

}  // namespace pinfold::loader
