#include "vmm/emulate/accesses.hpp"

#include <algorithm>

namespace pinfold::vmm {

MemoryAccesses::MemoryAccesses(const Instruction& instruction, const Registers& regs,
                               const SegmentBases& bases) {
  for (std::size_t i = 0; i < instruction.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    const bool writes = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    const std::uint64_t size = std::max<std::uint64_t>(operand.size / 8, 1);
    // A push stores below RSP as it is before the instruction.
    const bool pushes = writes && operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
                        operand.mem.base == ZYDIS_REGISTER_RSP;
    const std::uint64_t first = effective_address(instruction, operand, regs, bases) - (pushes ? size : 0);
    accesses_[count_++] = {first, writes};
    accesses_[count_++] = {first + size - 1, writes};
  }
}

}  // namespace pinfold::vmm
