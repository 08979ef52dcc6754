// A page-table entry that has been checked: the only thing that can be stored.
#pragma once

#include "pvmmu/mirror.hpp"
#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// The guest's entry as it goes into its table and the mirror's beside it. Made by the validator alone, once
/// the references for what the entry names are held; whoever has one may store it. An entry that is not
/// present names nothing and needs no check.
class CheckedEntry {
 public:
  [[nodiscard]] static CheckedEntry not_present(Pte guest) { return {guest, Pte()}; }
  [[nodiscard]] Pte guest() const { return guest_; }
  [[nodiscard]] Pte mirror() const { return mirror_; }

 private:
  friend class Validator;
  CheckedEntry(Pte guest, Pte mirror) : guest_(guest), mirror_(mirror) {}
  Pte guest_;
  Pte mirror_;
};

}  // namespace pinfold::pvmmu
