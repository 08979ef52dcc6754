// The gate's machine code, assembled into the monitor and copied into pages of the arena.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmm/gate/layout.hpp"

extern "C" {
extern const std::byte pinfold_gate_user_begin[], pinfold_gate_user_end[];
extern const std::byte pinfold_gate_kernel_begin[], pinfold_gate_kernel_end[];

// fast_paths.S: a page, its entries, the places where it leaves, and one where it goes on.
extern const std::byte pinfold_fast_begin[], pinfold_fast_end[];
extern const std::byte pinfold_fast_exceptions[], pinfold_fast_syscall[];
extern const std::byte pinfold_fast_syscall_out[], pinfold_fast_exception_out[], pinfold_fast_return[],
    pinfold_fast_return_out[], pinfold_fast_refused_out[], pinfold_fast_broken_out[], pinfold_fast_reload[];

// resident.cpp: its section, which the linker brackets, and its entry.
extern const std::byte __start_pinfold_resident_text[], __stop_pinfold_resident_text[], pinfold_resident[];
}

namespace pinfold::vmm::gate {

/// The offset in its page of a place of fast_paths.S.
[[nodiscard]] inline std::uint64_t fast_offset(const std::byte* place) {
  return static_cast<std::uint64_t>(place - pinfold_fast_begin);
}

/// The address of the resident path's entry.
[[nodiscard]] inline std::uint64_t resident_entry() {
  return resident_text + static_cast<std::uint64_t>(pinfold_resident - __start_pinfold_resident_text);
}

}  // namespace pinfold::vmm::gate
