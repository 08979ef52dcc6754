// The stores to page-table entries that the gate emulates itself: those with which Linux changes L1 entries.
// Everything else is for vmm/emulate/pte_write.hpp, which knows all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "vmm/registers.hpp"

namespace pinfold::vmm::gate {

/// XCHG r64, m64 (ptep_get_and_clear), or LOCK AND m8, imm8 (ptep_set_wrprotect), in 64-bit mode.
struct SmallStore {
  bool exchanges = false;      ///< The first of the two.
  std::uint8_t length = 0;     ///< In bytes.
  std::uint8_t gpr = 0;        ///< Of an XCHG: the register's number, as instructions have it. Never RSP's.
  std::uint8_t immediate = 0;  ///< Of an AND.

  /// How many bytes it is decoded from; fewer are used.
  static constexpr std::size_t bytes = 16;
  [[nodiscard]] static constexpr std::optional<SmallStore> decode(const std::uint8_t (&code)[bytes]);
};

/// Intel SDM vol. 2, 2.1 and 2.2.1: prefixes, opcode, ModRM, SIB, displacement, immediate.
constexpr std::optional<SmallStore> SmallStore::decode(const std::uint8_t (&code)[bytes]) {
  constexpr std::uint8_t lock = 0xf0, rex = 0x40, rex_w = 8, rex_r = 4, sib_follows = 4, no_base = 5, rsp = 4;
  constexpr std::uint8_t xchg = 0x87, group_1_byte = 0x80, group_and = 4;
  std::size_t at = 0;
  const bool locked = code[at] == lock;
  if (locked) ++at;
  std::uint8_t prefix = 0;
  if ((code[at] & 0xf0) == rex) prefix = code[at++];
  const std::uint8_t opcode = code[at++], modrm = code[at++];
  const unsigned mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7U;
  if (mod == 3) return std::nullopt;
  const bool far = rm == sib_follows ? mod == 0 && (code[at] & 7) == no_base : mod == 0 && rm == no_base;
  if (rm == sib_follows) ++at;
  at += far || mod == 2 ? 4 : mod;  // mod 1: one byte

  SmallStore store;
  if (opcode == xchg && (prefix & rex_w) != 0) {
    store.exchanges = true;
    store.gpr = static_cast<std::uint8_t>(reg | ((prefix & rex_r) != 0 ? 8U : 0U));
    if (store.gpr == rsp) return std::nullopt;
  } else if (opcode == group_1_byte && reg == group_and && locked) {
    store.immediate = code[at++];
  } else {
    return std::nullopt;
  }
  store.length = static_cast<std::uint8_t>(at);
  return store;
}

/// RFLAGS after an AND of bytes whose result this is: alu::logic() without a library.
[[nodiscard]] constexpr std::uint64_t flags_after_and(std::uint8_t result, std::uint64_t flags) {
  constexpr std::uint64_t changed =
      rflags::cf | rflags::pf | rflags::af | rflags::zf | rflags::sf | rflags::of;
  return (flags & ~changed) | (__builtin_parity(result) != 0 ? 0 : rflags::pf) |
         (result == 0 ? rflags::zf : 0) | ((result & 0x80) != 0 ? rflags::sf : 0);
}

}  // namespace pinfold::vmm::gate
