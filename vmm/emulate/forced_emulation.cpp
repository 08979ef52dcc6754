#include "vmm/emulate/forced_emulation.hpp"

#include <algorithm>
#include <array>

namespace pinfold::vmm {

bool is_forced_cpuid(std::span<const std::byte> bytes) {
  static constexpr std::array<std::byte, forced_cpuid_length> sequence{
      std::byte{0x0f}, std::byte{0x0b}, std::byte{'x'}, std::byte{'e'},
      std::byte{'n'},  std::byte{0x0f}, std::byte{0xa2}};
  return bytes.size() >= sequence.size() && std::equal(sequence.begin(), sequence.end(), bytes.begin());
}

std::optional<std::uint8_t> decode_int_n(std::span<const std::byte> bytes) {
  if (bytes.size() < int_n_length || bytes[0] != std::byte{0xcd}) return std::nullopt;
  return static_cast<std::uint8_t>(bytes[1]);
}

}  // namespace pinfold::vmm
