// INS and OUTS, with and without REP.
#pragma once

#include <optional>

#include "vmm/emulate/operands.hpp"
#include "vmm/emulate/privileged.hpp"

namespace pinfold::vmm {

/// Moves up to max_string_elements elements between port DX and memory, in 64-bit mode; one element if the
/// guest gets a #DB after it. `breakpoints`: those that the ports hit, as bits of DR6. Returns nothing if the
/// instruction is finished; the caller advances RIP. Otherwise returns why not: Restart, #GP or a page fault.
/// RSI, RDI and RCX then say how much was moved.
[[nodiscard]] std::optional<Outcome> move_string(Registers& regs, bool kernel_mode,
                                                 const Instruction& instruction, PrivilegedState& state,
                                                 std::uint64_t& breakpoints);

}  // namespace pinfold::vmm
