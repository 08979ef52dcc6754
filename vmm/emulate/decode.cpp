#include "vmm/emulate/decode.hpp"

#include <algorithm>

namespace pinfold::vmm {
namespace {

ZydisDecoder make_decoder(ZydisMachineMode mode, ZydisStackWidth stack) {
  ZydisDecoder decoder{};
  // It fails for combinations of mode and stack width that don't exist, and those below do.
  (void)ZydisDecoderInit(&decoder, mode, stack);
  return decoder;
}

const ZydisDecoder& decoder_for(CodeWidth width) {
  static const ZydisDecoder bits64 = make_decoder(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  static const ZydisDecoder bits32 = make_decoder(ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
  static const ZydisDecoder bits16 = make_decoder(ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
  switch (width) {
    case CodeWidth::bits16: return bits16;
    case CodeWidth::bits32: return bits32;
    case CodeWidth::bits64: break;
  }
  return bits64;
}

}  // namespace

bool Instruction::repeated() const {
  return std::any_of(std::begin(info.raw.prefixes), std::begin(info.raw.prefixes) + info.raw.prefix_count,
                     [](const auto& prefix) { return prefix.value == 0xf2 || prefix.value == 0xf3; });
}

const ZydisDecodedOperand* Instruction::first(ZydisOperandType type) const {
  const auto end = operands.begin() + info.operand_count;
  const auto found =
      std::find_if(operands.begin(), end, [type](const auto& operand) { return operand.type == type; });
  return found == end ? nullptr : &*found;
}

tl::expected<Instruction, DecodeError> decode(std::span<const std::byte> bytes, CodeWidth width) {
  if (bytes.empty()) return tl::unexpected(DecodeError::truncated);
  Instruction instruction;  // the decoder fills it
  const std::size_t length = std::min<std::size_t>(bytes.size(), ZYDIS_MAX_INSTRUCTION_LENGTH);
  const ZyanStatus status = ZydisDecoderDecodeFull(&decoder_for(width), bytes.data(), length,
                                                   &instruction.info, instruction.operands.data());
  if (ZYAN_SUCCESS(status)) return instruction;
  // Fifteen bytes that still want more are too long an instruction, not a short fetch.
  const bool more = status == ZYDIS_STATUS_NO_MORE_DATA && length < ZYDIS_MAX_INSTRUCTION_LENGTH;
  return tl::unexpected(more ? DecodeError::truncated : DecodeError::invalid);
}

}  // namespace pinfold::vmm
