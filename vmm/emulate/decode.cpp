#include "vmm/emulate/decode.hpp"

#include <algorithm>
#include <bit>

namespace pinfold::vmm {
namespace {

ZydisDecoder make_decoder(ZydisMachineMode mode, ZydisStackWidth stack) {
  ZydisDecoder decoder{};
  // Fails only for combinations of mode and stack width that don't exist. Those below do.
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

/// An entry of the cache of decode_again().
struct Decoded {
  std::array<std::byte, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
  std::size_t length = 0;
  CodeWidth width = CodeWidth::bits64;
  tl::expected<Instruction, DecodeError> meaning = tl::unexpected(DecodeError::truncated);  // of no bytes
};

constexpr unsigned remembered_log2 = 4;

/// The cache's index for these bytes. It hashes the first eight, in which most instructions differ.
std::size_t place_of(std::span<const std::byte> bytes) {
  std::array<std::byte, 8> first{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), first.size()), first.begin());
  const auto begin = std::bit_cast<std::uint64_t>(first);
  constexpr std::uint64_t golden_ratio = 0x9e37'79b9'7f4a'7c15;  // of 2^64; Knuth vol. 3, 6.4
  return begin * golden_ratio >> (64 - remembered_log2);
}

/// Zydis 4.0 takes base 5 of a SIB byte for R13D where REX.B is set and addresses have 32 bits, whatever
/// ModRM.mod is. With mod 0 there is no base, but a displacement (Intel SDM vol. 2, table 2-3, note on base
/// [*]).
void take_base_away(Instruction& instruction) {
  const auto& raw = instruction.info.raw;
  if ((instruction.info.attributes & ZYDIS_ATTRIB_HAS_SIB) == 0 || raw.modrm.mod != 0 || raw.sib.base != 5)
    return;
  for (ZydisDecodedOperand& operand : instruction.operands)
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_R13D) {
      operand.mem.base = ZYDIS_REGISTER_NONE;
      operand.mem.disp.has_displacement = true;
      operand.mem.disp.value = raw.disp.value;
    }
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
  if (ZYAN_SUCCESS(status)) {
    take_base_away(instruction);
    return instruction;
  }
  // If 15 bytes do not suffice, the instruction is too long, not the fetch too short.
  const bool more = status == ZYDIS_STATUS_NO_MORE_DATA && length < ZYDIS_MAX_INSTRUCTION_LENGTH;
  return tl::unexpected(more ? DecodeError::truncated : DecodeError::invalid);
}

const tl::expected<Instruction, DecodeError>& decode_again(std::span<const std::byte> bytes,
                                                           CodeWidth width) {
  thread_local std::array<Decoded, 1U << remembered_log2> remembered;
  bytes = bytes.first(std::min<std::size_t>(bytes.size(), ZYDIS_MAX_INSTRUCTION_LENGTH));
  Decoded& found = remembered[place_of(bytes)];
  if (found.width != width || found.length != bytes.size() ||
      !std::equal(bytes.begin(), bytes.end(), found.bytes.begin())) {
    found.meaning = decode(bytes, width);
    std::copy(bytes.begin(), bytes.end(), found.bytes.begin());
    found.length = bytes.size();
    found.width = width;
  }
  return found.meaning;
}

}  // namespace pinfold::vmm
