// Segment registers as KVM takes them, from selectors and descriptors of the guest's choice.
#pragma once

#include <cstdint>

#include <linux/kvm.h>

namespace pinfold::vmm {

/// The 32-bit base in a code or data descriptor (Intel SDM vol. 3, 3.4.5).
[[nodiscard]] std::uint64_t base_of_descriptor(std::uint64_t descriptor);

/// What a load of `selector`, which names `descriptor`, leaves in a data segment register (DS, ES, FS, GS) at
/// CPL 3. A load that the processor refuses leaves the null selector: of a descriptor that is not present, is
/// a system segment, is code that can't be read, or is not for CPL 3 (Intel SDM vol. 2, MOV to a segment
/// register). So what comes out passes the checks of a VM entry (vol. 3, 27.3.1.2), whatever goes in. The
/// base is left 0.
[[nodiscard]] kvm_segment data_segment(std::uint16_t selector, std::uint64_t descriptor);

}  // namespace pinfold::vmm
