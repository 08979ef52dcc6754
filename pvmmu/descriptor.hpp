// Segment descriptors: which ones a guest may have.
#pragma once

#include <cstdint>

#include "pvmmu/rules.hpp"

namespace pinfold::pvmmu {

/// GDT entries from here up are the monitor's (xen/arch-x86/xen.h: FIRST_RESERVED_GDT_ENTRY).
inline constexpr std::uint32_t first_reserved_gdt_entry = 14 * 512;
/// A guest's LDT is at most this long (Intel SDM vol. 3, 3.5.1: 64 KiB).
inline constexpr std::uint32_t max_ldt_entries = 8192;

/// The descriptor as it may be stored in a table that the processor uses, or the rule that refuses it. A
/// descriptor that is not present may hold anything. Code and data segments get DPL 3, since both guest modes
/// run at CPL3 (Intel SDM vol. 3, 3.4.5). Of the system segments only call gates to the guest's own code are
/// accepted; they get a DPL that no code of the guest can use, so that each use faults into the monitor.
[[nodiscard]] tl::expected<std::uint64_t, Rule> checked_descriptor(std::uint64_t raw);
/// Is it what checked_descriptor() makes of a descriptor?
[[nodiscard]] bool is_checked_descriptor(std::uint64_t raw);

}  // namespace pinfold::pvmmu
