// Return addresses on the stack of a stopped vCPU.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/debug/guest_debug.hpp"

namespace pinfold::vmm {

/// A return address on the stack.
struct StackEntry {
  std::uint64_t address = 0;
  /// It is on the chain of frame pointers. If not, it only looks like a return address: a function that has
  /// returned, or was never called, may have left it there.
  bool certain = false;
};

inline constexpr std::size_t most_stack_entries = 64;

/// Looks through the stack from `rsp` to the end of its 16 KiB (a Linux kernel's stacks have that size and
/// alignment; x86-64 kernels are built without frame pointers), or to the end of what is mapped, for
/// addresses of executable kernel memory behind a CALL; at most `most_stack_entries`, the innermost first.
[[nodiscard]] std::vector<StackEntry> scan_stack(pvmmu::Held held, pvmmu::Validator& mmu, Mfn root,
                                                 std::uint64_t rsp, std::uint64_t rbp);

/// Do these bytes, which lie before an address, end in a CALL instruction (Intel SDM vol. 2, CALL)?
[[nodiscard]] bool ends_in_call(std::span<const std::byte> before);

}  // namespace pinfold::vmm
