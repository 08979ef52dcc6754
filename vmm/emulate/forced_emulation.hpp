// Two instruction sequences that are recognised by their bytes, without the decoder: a
// forced-emulation CPUID and INT n.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace pinfold::vmm {

/// Length of the forced-emulation prefix: UD2 and the letters "xen" (xen/arch-x86/xen.h, XEN_EMULATE_PREFIX).
inline constexpr std::size_t forced_prefix_length = 5;
/// Length of the whole sequence, prefix and CPUID.
inline constexpr std::size_t forced_cpuid_length = 7;

/// Do the bytes at a #UD begin with the prefix and CPUID? No other instruction may follow the prefix.
[[nodiscard]] bool is_forced_cpuid(std::span<const std::byte> bytes);

/// The vector of an INT n (CD ib, two bytes). Nothing for INT3 and INTO, which have other opcodes, and for
/// INT n with prefixes, which have no meaning there.
[[nodiscard]] std::optional<std::uint8_t> decode_int_n(std::span<const std::byte> bytes);
inline constexpr std::size_t int_n_length = 2;

}  // namespace pinfold::vmm
