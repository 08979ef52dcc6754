#include "devices/block/format_hint.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace pinfold::devices::block {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::size_t place;
  std::string_view bytes;
  std::string_view format;
};

constexpr std::array signatures = {
    Signature{0, "QFI\xfb"sv, "qcow2"},
    Signature{0, "vhdxfile"sv, "vhdx"},
    Signature{0, "conectix"sv, "vhd"},
    Signature{0, "KDMV"sv, "vmdk"},
    Signature{0, "# Disk DescriptorFile"sv, "vmdk"},
    Signature{0, "QED\0"sv, "qed"},
    Signature{64, "\x7f\x10\xda\xbe"sv, "vdi"},
    Signature{0, "\x1f\x8b\x08"sv, "gzip"},
    Signature{0,
              "\xfd"
              "7zXZ\0"sv,
              "xz"},
    Signature{0, "\x28\xb5\x2f\xfd"sv, "zstd"},
};

bool has(std::span<const std::byte> start, const Signature& signature) {
  if (start.size() < signature.place + signature.bytes.size()) return false;
  return std::equal(signature.bytes.begin(), signature.bytes.end(),
                    start.begin() + static_cast<std::ptrdiff_t>(signature.place),
                    [](char want, std::byte is) {
                      return static_cast<std::uint8_t>(want) == std::to_integer<std::uint8_t>(is);
                    });
}

}  // namespace

std::optional<std::string> format_hint(std::span<const std::byte> start) {
  for (const Signature& signature : signatures)
    if (has(start, signature)) return std::string(signature.format);
  return std::nullopt;
}

}  // namespace pinfold::devices::block
