// CPUID of the processor that the monitor runs on, as a source for CpuidPolicy.
#pragma once

#include <cstdint>

#include "vmm/cpuid_policy.hpp"

namespace pinfold::vmm {

/// Executes CPUID. Inside another hypervisor's VM each call is an exit.
[[nodiscard]] CpuidSource native_cpuid();

/// XCR0 as the host's kernel set it; 0 if the processor or the host has no XSAVE.
[[nodiscard]] std::uint64_t native_xcr0();

}  // namespace pinfold::vmm
