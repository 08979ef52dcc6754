// Integer arithmetic with a processor's flags (Intel SDM vol. 1, 3.4.3.1 and vol. 2).
#pragma once

#include <bit>
#include <cstdint>

#include "vmm/emulate/operands.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm::alu {

struct Result {
  std::uint64_t value;
  std::uint64_t flags;  ///< all of RFLAGS, with the operation's flags replaced
};

inline constexpr std::uint64_t arithmetic_flags =
    rflags::cf | rflags::pf | rflags::af | rflags::zf | rflags::sf | rflags::of;

[[nodiscard]] constexpr std::uint64_t when(bool condition, std::uint64_t flag) {
  return condition ? flag : 0;
}

/// PF, ZF and SF of a result of `size` bytes.
[[nodiscard]] constexpr std::uint64_t result_flags(std::uint64_t value, unsigned size) {
  const std::uint64_t cut = value & mask_of(size);
  return when(std::popcount(cut & 0xff) % 2 == 0, rflags::pf) | when(cut == 0, rflags::zf) |
         when(((cut >> (8 * size - 1)) & 1) != 0, rflags::sf);
}

/// a + b + carry. The carries of all bit positions follow from the operands and the result.
[[nodiscard]] constexpr Result add(std::uint64_t a, std::uint64_t b, bool carry, unsigned size,
                                   std::uint64_t flags) {
  const std::uint64_t value = (a + b + (carry ? 1 : 0)) & mask_of(size);
  const std::uint64_t carries = (a & b) | ((a | b) & ~value);
  const unsigned top = 8 * size - 1;
  const std::uint64_t overflow = (a ^ value) & (b ^ value);
  return {value, (flags & ~arithmetic_flags) | result_flags(value, size) |
                     when((carries >> top) & 1, rflags::cf) | when((carries >> 3) & 1, rflags::af) |
                     when((overflow >> top) & 1, rflags::of)};
}

/// a - b - borrow.
[[nodiscard]] constexpr Result sub(std::uint64_t a, std::uint64_t b, bool borrow, unsigned size,
                                   std::uint64_t flags) {
  const std::uint64_t value = (a - b - (borrow ? 1 : 0)) & mask_of(size);
  const std::uint64_t borrows = (~a & b) | ((~a | b) & value);
  const unsigned top = 8 * size - 1;
  const std::uint64_t overflow = (a ^ b) & (a ^ value);
  return {value, (flags & ~arithmetic_flags) | result_flags(value, size) |
                     when((borrows >> top) & 1, rflags::cf) | when((borrows >> 3) & 1, rflags::af) |
                     when((overflow >> top) & 1, rflags::of)};
}

/// Flags after AND, OR and XOR. AF is undefined; processors clear it.
[[nodiscard]] constexpr Result logic(std::uint64_t value, unsigned size, std::uint64_t flags) {
  return {value & mask_of(size), (flags & ~arithmetic_flags) | result_flags(value, size)};
}

/// INC and DEC do not change CF.
[[nodiscard]] constexpr Result keeping_carry(Result result, std::uint64_t flags) {
  return {result.value, (result.flags & ~rflags::cf) | (flags & rflags::cf)};
}

}  // namespace pinfold::vmm::alu
