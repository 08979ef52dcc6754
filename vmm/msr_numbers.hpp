// Numbers of model-specific registers (Intel SDM vol. 4, table 2-2; AMD APM vol. 2, appendix A).
#pragma once

#include <cstdint>

namespace pinfold::vmm::msr {

inline constexpr std::uint32_t tsc = 0x10, apic_base = 0x1b, microcode_revision = 0x8b, platform_info = 0xce,
                               misc_features_enables = 0x140, misc_enable = 0x1a0, pat = 0x277,
                               perf_capabilities = 0x345, xen_hypercall_page = 0x40000000, efer = 0xc0000080,
                               star = 0xc0000081, lstar = 0xc0000082, cstar = 0xc0000083, fmask = 0xc0000084,
                               fs_base = 0xc0000100, gs_base = 0xc0000101, kernel_gs_base = 0xc0000102,
                               tsc_aux = 0xc0000103;

}  // namespace pinfold::vmm::msr
