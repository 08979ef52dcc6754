#include "loader/unpack.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "loader/codecs.hpp"

namespace pinfold::loader {
namespace {

struct Codec {
  Packing packing;
  const char* name;
  std::size_t magic_length;
  std::array<std::uint8_t, 6> magic;
  Loaded<std::size_t> (*unpack)(std::span<const std::byte>, const CodecRoom&);  // null: known, not supported
};

constexpr std::array codecs{
    Codec{Packing::gzip, "gzip", 3, {0x1f, 0x8b, 0x08}, unpack_gzip},
    Codec{Packing::xz, "xz", 6, {0xfd, '7', 'z', 'X', 'Z', 0x00}, unpack_xz},
    Codec{Packing::zstd, "zstd", 4, {0x28, 0xb5, 0x2f, 0xfd}, unpack_zstd},
    Codec{Packing::lz4_legacy, "lz4", 4, {0x02, 0x21, 0x4c, 0x18}, unpack_lz4_legacy},
    // lc=3 lp=0 pb=2 and a dictionary of at least 64 KiB, as every encoder in use writes: the format has no
    // magic.
    Codec{Packing::lzma, "lzma", 3, {0x5d, 0x00, 0x00}, unpack_lzma},
    Codec{Packing::bzip2, "bzip2", 3, {'B', 'Z', 'h'}, unpack_bzip2},
    Codec{Packing::lzo, "lzo", 4, {0x89, 'L', 'Z', 'O'}, nullptr},
};

const Codec* codec_of(std::span<const std::byte> packed) {
  const auto* found = std::find_if(codecs.begin(), codecs.end(), [&](const Codec& codec) {
    return packed.size() >= codec.magic_length &&
           std::equal(codec.magic.begin(), codec.magic.begin() + codec.magic_length, packed.begin(),
                      [](std::uint8_t a, std::byte b) { return std::byte{a} == b; });
  });
  return found == codecs.end() ? nullptr : found;
}

}  // namespace

Packing packing_of(std::span<const std::byte> packed) {
  const Codec* codec = codec_of(packed);
  return codec == nullptr ? Packing::none : codec->packing;
}

const char* name_of(Packing packing) {
  for (const Codec& codec : codecs) {
    if (codec.packing == packing) return codec.name;
  }
  return "uncompressed";
}

Loaded<Buffer> unpack(std::span<const std::byte> packed, const Progress& progress, std::size_t limit) {
  const Codec* codec = codec_of(packed);
  if (codec == nullptr) return refuse("compression format not recognised");
  const std::string name = codec->name;
  if (codec->unpack == nullptr)
    return refuse("compressed with " + name +
                  ", which is not supported: unpack it first (Linux: scripts/extract-vmlinux)");
  auto buffer = Buffer::reserve(limit + codec_slack);
  if (!buffer) return buffer;

  const std::string what = "unpacking (" + name + ")";
  const auto consumed = [&](std::size_t used) {
    report(progress, what, static_cast<double>(used) / static_cast<double>(packed.size()));
  };
  consumed(0);
  const auto produced = codec->unpack(packed, CodecRoom{buffer->writable(), limit, consumed});
  if (!produced) return refuse(name + " payload: " + produced.error().message);
  consumed(packed.size());
  buffer->trim(*produced);
  return buffer;
}

}  // namespace pinfold::loader
