// The I/O port by which code in a VM leaves it.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// KVM moves RIP past a one-byte OUT to this port before it exits (KVM_X86_QUIRK_OUT_7E_INC_RIP). So no
/// access is pending when the monitor changes registers.
inline constexpr std::uint8_t exit_port = 0x7e;

}  // namespace pinfold::vmm
