// The processor that the monitor itself runs on, as a source for CpuidPolicy.
#pragma once

#include <cstdint>

#include "vmm/cpuid_policy.hpp"

namespace pinfold::vmm {

/// Executes CPUID. Under another hypervisor each call is an exit to it.
[[nodiscard]] CpuidSource native_cpuid();

/// XCR0 as the host's kernel set it; 0 if the processor or the host has no XSAVE.
[[nodiscard]] std::uint64_t native_xcr0();

}  // namespace pinfold::vmm
