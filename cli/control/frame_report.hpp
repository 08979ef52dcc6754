// What a validator's state says of a table or a frame, as JSON: of a live domain, or of one that a log tells
// of.
#pragma once

#include <functional>
#include <vector>

#include "cli/control/protocol.hpp"
#include "pvmmu/inventory.hpp"

namespace pinfold::cli {

/// A row of "tables" (docs/control.md).
[[nodiscard]] Json describe_table(const pvmmu::Inventory& inventory, const pvmmu::TableReport& table);

/// A frame's record: {"frame","owner","owned","pfn","type",…}. `m2p`: the machine-to-phys array.
[[nodiscard]] Json describe_record(const pvmmu::Validator& mmu, pvmmu::Pages m2p, Mfn frame);

/// A frame of the machine, and everything that refers to it.
class FrameReport {
 public:
  /// Searches in steps of some 20 microseconds, and calls `between` after each. `between` may release the
  /// lock for a moment; then the report's parts may contradict each other.
  [[nodiscard]] static FrameReport of(pvmmu::Held held, const pvmmu::Validator& mmu, pvmmu::Pages m2p,
                                      Mfn frame, std::vector<pvmmu::OutsideUser> outside,
                                      const std::function<void()>& between);

  /// The record, and of an own frame {"entries":[place + "writable",
  /// "addresses"…],"entries_total","outside"}. Needs no lock.
  [[nodiscard]] Json json() const;

 private:
  void take(std::vector<pvmmu::EntryPlace>& some);

  Mfn frame_;
  bool searched_ = false;
  Json record_;
  std::vector<pvmmu::EntryPlace> entries_;
  std::size_t total_ = 0;
  pvmmu::Inventory inventory_;
};

}  // namespace pinfold::cli
