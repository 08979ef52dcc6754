#include "vmm/cpu/segments.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t field(std::uint64_t descriptor, unsigned from, unsigned bits) {
  return descriptor >> from & ((1ULL << bits) - 1);
}

constexpr std::uint8_t bit(std::uint64_t descriptor, unsigned n) {
  return (descriptor >> n & 1) != 0 ? 1 : 0;
}

constexpr std::uint8_t accessed = 1, readable = 2, code = 8;

constexpr bool can_be_loaded(std::uint16_t selector, std::uint64_t descriptor) {
  const bool null = (selector & ~3U) == 0;
  const bool code_or_data = bit(descriptor, 44) != 0, present = bit(descriptor, 47) != 0;
  const std::uint64_t type = field(descriptor, 40, 4);
  return !null && code_or_data && present && field(descriptor, 45, 2) == 3 &&
         ((type & code) == 0 || (type & readable) != 0);
}

}  // namespace

std::uint64_t base_of_descriptor(std::uint64_t descriptor) {
  return field(descriptor, 16, 24) | field(descriptor, 56, 8) << 24;
}

kvm_segment data_segment(std::uint16_t selector, std::uint64_t descriptor) {
  kvm_segment s{};
  s.s = 1;
  s.dpl = 3;
  s.type = accessed;
  if (!can_be_loaded(selector, descriptor)) {
    s.unusable = 1;
    return s;
  }
  s.selector = selector | 3;
  s.present = 1;
  s.type = static_cast<std::uint8_t>(field(descriptor, 40, 4) | accessed);
  s.avl = bit(descriptor, 52);
  s.l = bit(descriptor, 53);
  s.db = bit(descriptor, 54);
  s.g = bit(descriptor, 55);
  const auto limit = static_cast<std::uint32_t>(field(descriptor, 0, 16) | field(descriptor, 48, 4) << 16);
  s.limit = s.g != 0 ? limit << 12 | 0xfff : limit;
  return s;
}

}  // namespace pinfold::vmm
