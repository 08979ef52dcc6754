#include "vmm/emulate/operands.hpp"

namespace pinfold::vmm {
namespace {

RegisterOperand numbered(int number, unsigned size, bool high_byte = false) {
  return {static_cast<Gpr>(number), static_cast<std::uint8_t>(size), high_byte};
}

std::uint64_t address_register(ZydisRegister name, const Instruction& instruction, const Registers& regs) {
  if (name == ZYDIS_REGISTER_RIP || name == ZYDIS_REGISTER_EIP) return regs.rip + instruction.length();
  const auto gpr = general_register(name);
  return gpr ? gpr->read(regs) : 0;
}

std::uint64_t segment_base(ZydisRegister segment, const SegmentBases& bases) {
  if (segment == ZYDIS_REGISTER_FS) return bases.fs;
  if (segment == ZYDIS_REGISTER_GS) return bases.gs;
  return 0;
}

}  // namespace

std::uint64_t RegisterOperand::read(const Registers& regs) const {
  return (regs[gpr] >> (high_byte ? 8 : 0)) & mask_of(size);
}

void RegisterOperand::write(Registers& regs, std::uint64_t value) const {
  if (size >= 4) {
    regs[gpr] = value & mask_of(size);
    return;
  }
  const unsigned shift = high_byte ? 8 : 0;
  const std::uint64_t mask = mask_of(size) << shift;
  regs[gpr] = (regs[gpr] & ~mask) | ((value << shift) & mask);
}

std::optional<RegisterOperand> general_register(ZydisRegister name) {
  // Zydis numbers the registers of one size in the order of their encodings, with AH to
  // BH between BL and SPL.
  const auto within = [name](ZydisRegister first, ZydisRegister last) {
    return name >= first && name <= last;
  };
  const auto from = [name](ZydisRegister first) { return static_cast<int>(name) - static_cast<int>(first); };
  if (within(ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_R15)) return numbered(from(ZYDIS_REGISTER_RAX), 8);
  if (within(ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_R15D)) return numbered(from(ZYDIS_REGISTER_EAX), 4);
  if (within(ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15W)) return numbered(from(ZYDIS_REGISTER_AX), 2);
  if (within(ZYDIS_REGISTER_AL, ZYDIS_REGISTER_BL)) return numbered(from(ZYDIS_REGISTER_AL), 1);
  if (within(ZYDIS_REGISTER_AH, ZYDIS_REGISTER_BH)) return numbered(from(ZYDIS_REGISTER_AH), 1, true);
  if (within(ZYDIS_REGISTER_SPL, ZYDIS_REGISTER_R15B)) return numbered(from(ZYDIS_REGISTER_SPL) + 4, 1);
  return std::nullopt;
}

std::uint64_t effective_address(const Instruction& instruction, const ZydisDecodedOperand& operand,
                                const Registers& regs, const SegmentBases& bases,
                                std::uint64_t displacement) {
  const auto& mem = operand.mem;
  std::uint64_t address = displacement;
  address += address_register(mem.base, instruction, regs);
  address += address_register(mem.index, instruction, regs) * mem.scale;
  if (mem.disp.has_displacement) address += static_cast<std::uint64_t>(mem.disp.value);
  if (instruction.info.address_width == 32) address &= mask_of(4);
  return address + segment_base(mem.segment, bases);
}

}  // namespace pinfold::vmm
