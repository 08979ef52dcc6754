// The monitor's part of a guest's address space: L4 slots 256 to 271, which every root's mirror shares.
#pragma once

#include <array>

#include "pvmmu/pte.hpp"
#include "vmm/memory/arena.hpp"

namespace pinfold::vmm::gate {

/// Flags of entries. Only CPL0 reaches pages that lack `bit::user`.
inline constexpr std::uint64_t supervisor = pvmmu::bit::present | pvmmu::bit::accessed;
inline constexpr std::uint64_t data =
    supervisor | pvmmu::bit::writable | pvmmu::bit::dirty | pvmmu::bit::no_execute;

/// Builds the tables of these slots, in fixed pages of the arena. Addresses are those of vmm/gate/layout.hpp.
class AddressSpace {
 public:
  explicit AddressSpace(Arena& arena) : arena_(arena) {}

  /// What slots 256 to 271 of every root's mirror hold.
  [[nodiscard]] const std::array<pvmmu::Pte, pvmmu::xen_slots>& l4_slots() const { return l4_slots_; }

  /// Something will be mapped in the slot of this address once roots have been made with l4_slots().
  void reserve_slot(std::uint64_t address) { (void)l3_of(address); }
  void map_page(std::uint64_t address, Mfn frame, std::uint64_t flags);
  /// Maps 2 MiB pages. `frame` is aligned to their size.
  void map_large(std::uint64_t address, Mfn frame, std::size_t bytes, std::uint64_t flags);
  /// Replaces the entry of a page that was mapped before. The processor may know the old one until its
  /// translations are flushed.
  void remap_page(std::uint64_t address, pvmmu::Pte entry) const;

 private:
  [[nodiscard]] Mfn table_below(Mfn table, std::size_t slot);
  [[nodiscard]] Mfn l3_of(std::uint64_t address);

  Arena& arena_;
  std::array<pvmmu::Pte, pvmmu::xen_slots> l4_slots_{};
};

}  // namespace pinfold::vmm::gate
