// What an instruction's operands name: general registers with their widths, and effective addresses.
#pragma once

#include <Zydis/DecoderTypes.h>

#include <cstdint>
#include <optional>

#include "pvmmu/types.hpp"
#include "vmm/emulate/decode.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// Bases of the two segments that have one in 64-bit mode.
struct SegmentBases {
  std::uint64_t fs = 0;
  std::uint64_t gs = 0;
};

/// All ones in the low `size` bytes (1, 2, 4 or 8).
[[nodiscard]] constexpr std::uint64_t mask_of(unsigned size) { return ~0ULL >> (64 - 8 * size); }

/// A general register as an operand: which, how many bytes of it, and whether it is AH, CH, DH or BH.
struct RegisterOperand {
  Gpr gpr = Gpr::rax;
  std::uint8_t size = 8;
  bool high_byte = false;

  [[nodiscard]] std::uint64_t read(const Registers& regs) const;
  /// As a processor does: 4 bytes clear the upper half, 1 or 2 leave the rest (Intel SDM vol. 1, 3.4.1.1).
  void write(Registers& regs, std::uint64_t value) const;
};

/// Nothing for a register that is not a general one.
[[nodiscard]] std::optional<RegisterOperand> general_register(ZydisRegister name);

/// Linear address of a memory operand in 64-bit mode. `displacement` (bytes) is added to what the operand
/// says, before it is cut to the instruction's address size: where a bit string's operand lies. RIP in `regs`
/// is the instruction's.
[[nodiscard]] std::uint64_t effective_address(const Instruction& instruction,
                                              const ZydisDecodedOperand& operand, const Registers& regs,
                                              const SegmentBases& bases, std::uint64_t displacement = 0);

}  // namespace pinfold::vmm
