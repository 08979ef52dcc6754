// The memory that an instruction is about to access.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "vmm/emulate/decode.hpp"
#include "vmm/emulate/operands.hpp"

namespace pinfold::vmm {

struct MemoryAccess {
  std::uint64_t address = 0;  ///< Linear.
  bool writes = false;
};

/// First and last byte of each memory operand of an instruction. For a repeated string instruction these
/// are the next element's.
class MemoryAccesses {
 public:
  MemoryAccesses(const Instruction& instruction, const Registers& regs, const SegmentBases& bases);

  [[nodiscard]] std::span<const MemoryAccess> all() const { return std::span(accesses_).first(count_); }

 private:
  std::array<MemoryAccess, std::size_t{2} * ZYDIS_MAX_OPERAND_COUNT> accesses_{};
  std::size_t count_ = 0;
};

}  // namespace pinfold::vmm
