// Page-table entries: the bits, once, and the class that names them.
#pragma once

#include <cstdint>

#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// Level of a page table: an L1's entries name data frames, an L4 is a root.
enum class Level : std::uint8_t { l1 = 1, l2 = 2, l3 = 3, l4 = 4 };

[[nodiscard]] constexpr Level below(Level level) {
  return static_cast<Level>(static_cast<std::uint8_t>(level) - 1);
}
[[nodiscard]] constexpr unsigned number(Level level) { return static_cast<unsigned>(level); }

inline constexpr std::size_t entries_per_table = 512;
/// Slots of an L4 that are the monitor's, never the guest's (xen/arch-x86/xen-x86_64.h:
/// HYPERVISOR_VIRT_START/END).
inline constexpr std::size_t first_xen_slot = 256;
inline constexpr std::size_t xen_slots = 16;
[[nodiscard]] constexpr bool is_xen_slot(std::size_t slot) {
  return slot >= first_xen_slot && slot < first_xen_slot + xen_slots;
}

/// Slot of the table of `level` that translates `va` (Intel SDM vol. 3, 4.5.4).
[[nodiscard]] constexpr std::size_t slot_of(Level level, GuestVaddr va) {
  return (va.raw() >> (page_shift + 9UL * (number(level) - 1))) & (entries_per_table - 1);
}

/// Where a VM's physical space divides, at 256 GiB: the frames of the machine, which guests own, lie below,
/// the monitor's own (mirrors, gate, machine-to-phys table) here and above. The mirror of an L1 entry has no
/// address bit to name one of these, whatever the guest wrote and whoever approved it.
inline constexpr Mfn first_monitor_frame{1ULL << 26};

/// Bits of an entry (Intel SDM vol. 3, tables 4-15 to 4-20).
namespace bit {
inline constexpr std::uint64_t present = 1ULL << 0, writable = 1ULL << 1, user = 1ULL << 2,
                               write_through = 1ULL << 3, cache_disable = 1ULL << 4, accessed = 1ULL << 5,
                               dirty = 1ULL << 6, pat_or_large = 1ULL << 7, global = 1ULL << 8,
                               available = 7ULL << 9, available_high = 0x7ffULL << 52,
                               no_execute = 1ULL << 63;
/// Marks, in a guest's L1 entry, that the guest had U clear: Xen sets U and remembers it here (bit 52).
inline constexpr std::uint64_t guest_kernel = 1ULL << 52;
inline constexpr std::uint64_t address = 0x000ffffffffff000ULL;
}  // namespace bit

/// One entry, by value. Knows bits, not rules: where it came from and what was checked is in the types around
/// it.
class Pte {
 public:
  constexpr Pte() = default;
  constexpr explicit Pte(std::uint64_t raw) : raw_(raw) {}
  constexpr Pte(Mfn frame, std::uint64_t flags) : raw_((frame.raw() << page_shift) | flags) {}

  [[nodiscard]] constexpr std::uint64_t raw() const { return raw_; }
  [[nodiscard]] constexpr bool present() const { return has(bit::present); }
  [[nodiscard]] constexpr bool writable() const { return has(bit::writable); }
  [[nodiscard]] constexpr bool has(std::uint64_t bits) const { return (raw_ & bits) == bits; }
  [[nodiscard]] constexpr bool any(std::uint64_t bits) const { return (raw_ & bits) != 0; }
  [[nodiscard]] constexpr Mfn mfn() const { return Mfn(raw_ << 12 >> (12 + page_shift)); }
  [[nodiscard]] constexpr std::uint64_t flags() const { return raw_ & ~bit::address; }
  [[nodiscard]] constexpr Pte with(std::uint64_t bits) const { return Pte(raw_ | bits); }
  [[nodiscard]] constexpr Pte without(std::uint64_t bits) const { return Pte(raw_ & ~bits); }
  friend constexpr bool operator==(Pte, Pte) = default;

 private:
  std::uint64_t raw_ = 0;
};

static_assert(Pte(~0ULL).mfn().raw() == bit::address >> page_shift &&
              Pte(bit::address).mfn() == Pte(~0ULL).mfn());
static_assert(sizeof(Pte) == 8, "Intel SDM vol. 3, 4.5: entries are 64 bits");

}  // namespace pinfold::pvmmu
