#include "vmm/gate/address_space.hpp"

#include <cstdlib>

namespace pinfold::vmm::gate {

using pvmmu::Level;
using pvmmu::Pte;
namespace bit = pvmmu::bit;

namespace {

constexpr std::uint64_t upper = bit::present | bit::writable | bit::user | bit::accessed;

}  // namespace

Mfn AddressSpace::table_below(Mfn table, std::size_t slot) {
  const Pte found(arena_.load(table, slot));
  if (found.present()) return found.mfn();
  const Mfn made = arena_.take_fixed();
  arena_.store(table, slot, Pte(made, upper).raw());
  return made;
}

Mfn AddressSpace::l3_of(std::uint64_t address) {
  Pte& root = l4_slots_[pvmmu::slot_of(Level::l4, GuestVaddr(address)) - pvmmu::first_xen_slot];
  if (!root.present()) root = Pte(arena_.take_fixed(), upper);
  return root.mfn();
}

void AddressSpace::map_page(std::uint64_t address, Mfn frame, std::uint64_t flags) {
  const GuestVaddr va(address);
  const Mfn l2 = table_below(l3_of(address), pvmmu::slot_of(Level::l3, va));
  const Mfn l1 = table_below(l2, pvmmu::slot_of(Level::l2, va));
  arena_.store(l1, pvmmu::slot_of(Level::l1, va), Pte(frame, flags).raw());
}

void AddressSpace::remap_page(std::uint64_t address, Pte entry) const {
  const GuestVaddr va(address);
  Mfn table = l4_slots_[pvmmu::slot_of(Level::l4, va) - pvmmu::first_xen_slot].mfn();
  for (const Level level : {Level::l3, Level::l2})
    table = Pte(arena_.load(table, pvmmu::slot_of(level, va))).mfn();
  arena_.store(table, pvmmu::slot_of(Level::l1, va), entry.raw());
}

void AddressSpace::map_large(std::uint64_t address, Mfn frame, std::size_t bytes, std::uint64_t flags) {
  constexpr std::uint64_t large = 2ULL << 20;
  if (frame.raw() % pvmmu::entries_per_table != 0) std::abort();
  for (std::uint64_t at = 0; at < bytes; at += large) {
    const GuestVaddr va(address + at);
    const Mfn l2 = table_below(l3_of(address), pvmmu::slot_of(Level::l3, va));
    arena_.store(l2, pvmmu::slot_of(Level::l2, va),
                 Pte(frame.plus(at >> page_shift), flags | bit::pat_or_large).raw());
  }
}

}  // namespace pinfold::vmm::gate
