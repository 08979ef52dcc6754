// INS and OUTS, with and without REP.
#pragma once

#include <optional>

#include "vmm/emulate/operands.hpp"
#include "vmm/emulate/privileged.hpp"

namespace pinfold::vmm {

/// Moves up to max_string_elements elements (one when the guest single-steps) between port DX and memory,
/// 64-bit mode. Nothing: the instruction is finished, RIP is still to be advanced. Otherwise how it ended
/// before that: Restart, #GP or a page fault; RSI, RDI and RCX tell what was moved.
[[nodiscard]] std::optional<Outcome> move_string(Registers& regs, bool kernel_mode,
                                                 const Instruction& instruction, PrivilegedState& state);

}  // namespace pinfold::vmm
