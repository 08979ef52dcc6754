#include "loader/bzimage.hpp"

#include <cstdint>
#include <cstring>
#include <string>

namespace pinfold::loader {
namespace {

// Linux, Documentation/x86/boot.rst, "The real-mode kernel header".
constexpr std::size_t setup_sects_at = 0x1f1;     // u8, sectors after the boot sector; 0 means 4
constexpr std::size_t syssize_at = 0x1f4;         // u32, protected-mode code in paragraphs of 16 bytes
constexpr std::size_t boot_flag_at = 0x1fe;       // u16, 0xaa55
constexpr std::size_t header_at = 0x202;          // u32, "HdrS"
constexpr std::size_t version_at = 0x206;         // u16
constexpr std::size_t payload_offset_at = 0x248;  // u32, from the start of the protected-mode code
constexpr std::size_t payload_length_at = 0x24c;  // u32
constexpr std::size_t header_end = 0x250;
constexpr std::size_t signatures_end = 0x206;
constexpr std::size_t sector = 512;
constexpr std::uint16_t first_version_with_payload = 0x0208;

template <class T>
T read_le(std::span<const std::byte> file, std::size_t at) {
  T value{};
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

tl::unexpected<LoadError> refuse_truncated_at(std::uint64_t needed, std::size_t have, const char* what) {
  return refuse(std::string("bzImage is truncated: ") + what + " ends at byte " + std::to_string(needed) +
                ", the file has " + std::to_string(have));
}

}  // namespace

bool is_bzimage(std::span<const std::byte> file) {
  return file.size() >= signatures_end && read_le<std::uint16_t>(file, boot_flag_at) == 0xaa55 &&
         std::memcmp(file.data() + header_at, "HdrS", 4) == 0;
}

Loaded<std::span<const std::byte>> bzimage_payload(std::span<const std::byte> file) {
  if (file.size() < header_end) return refuse_truncated_at(header_end, file.size(), "the setup header");
  if (read_le<std::uint16_t>(file, version_at) < first_version_with_payload) {
    return refuse("bzImage uses a boot protocol older than 2.08, which does not say where the kernel is");
  }
  const auto sectors = read_le<std::uint8_t>(file, setup_sects_at);
  const std::uint64_t setup_end = (std::uint64_t{sectors == 0 ? std::uint8_t{4} : sectors} + 1) * sector;
  if (file.size() < setup_end) return refuse_truncated_at(setup_end, file.size(), "the setup code");

  const std::uint64_t begin = setup_end + read_le<std::uint32_t>(file, payload_offset_at);
  const std::uint64_t length = read_le<std::uint32_t>(file, payload_length_at);
  if (length == 0) return refuse("bzImage has no payload");
  if (file.size() < begin + length) return refuse_truncated_at(begin + length, file.size(), "the payload");
  // Builders round syssize up to paragraphs, a checksum included, without always padding the file: leave them
  // that.
  constexpr std::uint64_t rounding = 16 + 4;
  const std::uint64_t code_end = setup_end + std::uint64_t{16} * read_le<std::uint32_t>(file, syssize_at);
  if (file.size() + rounding < code_end) {
    return refuse_truncated_at(code_end, file.size(), "the protected-mode code");
  }
  return file.subspan(begin, length);
}

}  // namespace pinfold::loader
