// Decodes instructions: a thin wrapper around Zydis, and the only user of its decoder.
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
  invalid,    ///< no instruction, or one with prefixes that it can't have (#UD on a processor)
};

/// One decoded instruction. It has no pointers into the bytes that it was decoded from.
struct Instruction {
  ZydisDecodedInstruction info;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;

  [[nodiscard]] ZydisMnemonic mnemonic() const { return info.mnemonic; }
  [[nodiscard]] std::uint8_t length() const { return info.length; }
  [[nodiscard]] bool locked() const { return (info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0; }
  /// Has it a prefix F2 or F3? Both repeat MOVS, STOS, INS and OUTS (Intel SDM vol. 2, REP).
  [[nodiscard]] bool repeated() const;
  /// The first operand of a type, explicit or implied; null if there is none.
  [[nodiscard]] const ZydisDecodedOperand* first(ZydisOperandType type) const;
};

/// Decodes the instruction at the beginning of `bytes`, of which it uses at most 15.
[[nodiscard]] tl::expected<Instruction, DecodeError> decode(std::span<const std::byte> bytes,
                                                            CodeWidth width = CodeWidth::bits64);

/// The same, with a cache: a guest faults at the same few instructions again and again. The result is valid
/// in the calling thread until its next call.
[[nodiscard]] const tl::expected<Instruction, DecodeError>& decode_again(std::span<const std::byte> bytes,
                                                                         CodeWidth width = CodeWidth::bits64);

}  // namespace pinfold::vmm
