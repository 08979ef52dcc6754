// Exceptions: vectors and error codes (Intel SDM vol. 3, 6.3 and 6.13).
#pragma once

#include <cstdint>
#include <initializer_list>

namespace pinfold::vmm {

namespace vector {
inline constexpr std::uint8_t de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, nm = 7, df = 8, ts = 10,
                              np = 11, ss = 12, gp = 13, pf = 14, mf = 16, ac = 17, mc = 18, xf = 19, cp = 21;

/// One bit for each of these vectors.
[[nodiscard]] constexpr std::uint32_t mask(std::initializer_list<std::uint8_t> vectors) {
  std::uint32_t bits = 0;
  for (const std::uint8_t v : vectors) bits |= 1U << v;
  return bits;
}
/// Vectors whose exceptions have an error code.
inline constexpr std::uint32_t with_error_code = mask({df, ts, np, ss, gp, pf, ac, cp});

[[nodiscard]] constexpr bool has_error_code(std::uint8_t v) {
  return v < 32 && (with_error_code >> v & 1) != 0;
}
}  // namespace vector

/// Bits of a page fault's error code (vol. 3, 4.7).
namespace page_fault {
inline constexpr std::uint64_t present = 1, write = 2, user = 4, reserved = 8, fetch = 16;
}  // namespace page_fault

}  // namespace pinfold::vmm
