// The one place that turns instruction bytes into an instruction: a thin wrapper around the Zydis decoder.
#pragma once

#include <Zydis/Decoder.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tl/expected.hpp>

namespace pinfold::vmm {

/// The mode that the code segment gives (CS.L and CS.D; AMD APM vol. 2, 4.7.2).
enum class CodeWidth : std::uint8_t { bits16, bits32, bits64 };

enum class DecodeError : std::uint8_t {
  truncated,  ///< the bytes end before the instruction does
  invalid,    ///< no instruction, or one with prefixes that it does not take (#UD on a processor)
};

/// One decoded instruction. It holds values only, nothing that points into the bytes it came from.
struct Instruction {
  ZydisDecodedInstruction info;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;

  [[nodiscard]] ZydisMnemonic mnemonic() const { return info.mnemonic; }
  [[nodiscard]] std::uint8_t length() const { return info.length; }
  [[nodiscard]] bool locked() const { return (info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0; }
  /// F2 or F3 is there. Both repeat MOVS, STOS, INS and OUTS (Intel SDM vol. 2, REP).
  [[nodiscard]] bool repeated() const;
  /// The first explicit or implied operand of a kind (memory, register, immediate); null if there is none.
  [[nodiscard]] const ZydisDecodedOperand* first(ZydisOperandType type) const;
};

/// Decodes the instruction that `bytes` (at most 15 are looked at) begin with.
[[nodiscard]] tl::expected<Instruction, DecodeError> decode(std::span<const std::byte> bytes,
                                                            CodeWidth width = CodeWidth::bits64);

/// The same. A guest faults at few instructions, again and again: what was decoded lately is found by its
/// bytes and width. The result is the calling thread's, until it asks again.
[[nodiscard]] const tl::expected<Instruction, DecodeError>& decode_again(std::span<const std::byte> bytes,
                                                                         CodeWidth width = CodeWidth::bits64);

}  // namespace pinfold::vmm
