// A page-table entry that has been checked: the only thing that can be stored.
#pragma once

#include "pvmmu/mirror_entry.hpp"
#include "pvmmu/pte.hpp"
#include "pvmmu/rules.hpp"

namespace pinfold::pvmmu {

/// The guest's entry as it goes into its table and the mirror's beside it. Made by the validator and its core
/// alone, once the references for what the entry names are held; whoever has one may store it. An entry that
/// is not present names nothing and needs no check.
class CheckedEntry {
 public:
  [[nodiscard]] static constexpr CheckedEntry not_present(Pte guest) { return {guest, Pte()}; }
  [[nodiscard]] constexpr Pte guest() const { return guest_; }
  [[nodiscard]] constexpr Pte mirror() const { return mirror_; }

 private:
  friend class Validator;
  template <class Memory, class Records, class Locks>
  friend class PlainL1;
  constexpr CheckedEntry(Pte guest, Pte mirror) : guest_(guest), mirror_(mirror) {}
  Pte guest_;
  Pte mirror_;
};

/// A CheckedEntry, or the rule that refused it. Plain fields: it stays in registers.
class Checked {
 public:
  constexpr Checked(const CheckedEntry& entry) : entry_(entry) {}
  constexpr Checked(Rule rule) : entry_(CheckedEntry::not_present(Pte())), refused_(true), rule_(rule) {}
  constexpr explicit operator bool() const { return !refused_; }
  [[nodiscard]] constexpr const CheckedEntry& operator*() const { return entry_; }
  [[nodiscard]] constexpr Rule rule() const { return rule_; }

 private:
  CheckedEntry entry_;
  bool refused_ = false;
  Rule rule_{};
};

}  // namespace pinfold::pvmmu
