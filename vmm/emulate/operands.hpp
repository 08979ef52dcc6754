// Operands of instructions: general registers with their widths, and effective addresses.
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

/// A general register as an operand: its number, its size in bytes, and whether it is AH, CH, DH or BH.
struct RegisterOperand {
  Gpr gpr = Gpr::rax;
  std::uint8_t size = 8;
  bool high_byte = false;

  [[nodiscard]] std::uint64_t read(const Registers& regs) const;
  /// A write of 4 bytes clears the upper half, one of 1 or 2 bytes leaves the rest
  /// (Intel SDM vol. 1, 3.4.1.1).
  void write(Registers& regs, std::uint64_t value) const;
};

/// Nothing for a register that is not a general one.
[[nodiscard]] std::optional<RegisterOperand> general_register(ZydisRegister name);

/// Linear address of a memory operand in 64-bit mode. `displacement`, in bytes, is added before the
/// address is truncated to the instruction's address size; operands in bit strings need it. RIP in `regs`
/// is the instruction's address.
[[nodiscard]] std::uint64_t effective_address(const Instruction& instruction,
                                              const ZydisDecodedOperand& operand, const Registers& regs,
                                              const SegmentBases& bases, std::uint64_t displacement = 0);

}  // namespace pinfold::vmm
