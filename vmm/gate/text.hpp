// The gate's machine code, assembled into the monitor and copied into pages of the arena.
#pragma once

#include <cstddef>

extern "C" {
extern const std::byte pinfold_gate_user_begin[], pinfold_gate_user_end[];
extern const std::byte pinfold_gate_kernel_begin[], pinfold_gate_kernel_end[];
}
