// Guest-physical memory that KVM takes for itself.
#pragma once

#include <cstdint>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// On Intel hosts without unrestricted guest mode (for example without EPT), KVM makes memory slots of its
/// own: three pages for a TSS, below 4 GiB, and one for the page table of real mode (Linux,
/// Documentation/virt/kvm/api.rst: KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR). The monitor's slots must not
/// overlap them, and the guest must not reach them. Guests are never in real mode.
inline constexpr std::uint64_t identity_map_address = 0xfffbc000;
inline constexpr unsigned long tss_address = 0xfffbd000;
inline constexpr std::uint64_t private_pages = 4;
static_assert(tss_address == identity_map_address + page_size);

/// The frame numbers of these pages.
inline constexpr Mfn first_private_frame{identity_map_address >> page_shift};
inline constexpr Mfn private_frames_end = first_private_frame.plus(private_pages);

}  // namespace pinfold::vmm
