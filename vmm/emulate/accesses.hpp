// The memory that an instruction is about to touch.
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

/// First and last byte of each operand that an instruction reads or writes in memory. Of a repeated string
/// instruction, of the element that comes next.
class MemoryAccesses {
 public:
  MemoryAccesses(const Instruction& instruction, const Registers& regs, const SegmentBases& bases);

  [[nodiscard]] std::span<const MemoryAccess> all() const { return std::span(accesses_).first(count_); }

 private:
  std::array<MemoryAccess, 2 * ZYDIS_MAX_OPERAND_COUNT> accesses_{};
  std::size_t count_ = 0;
};

}  // namespace pinfold::vmm
