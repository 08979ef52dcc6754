// The audit: every count and every mirror, recomputed from the tables alone and compared with what is
// recorded.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// References that the monitor holds outside of tables. Those of loaded roots, descriptor tables, vcpu_info
/// pages are one type reference and the general one that comes with it; those for reading are general ones.
class OutsideReferences {
 public:
  void add(Mfn mfn) { ++typed_[mfn]; }
  /// A reference without a type: Validator::hold_readable().
  void add_readable(Mfn mfn) { ++readable_[mfn]; }
  [[nodiscard]] std::uint32_t of(Mfn mfn) const { return count(typed_, mfn); }
  [[nodiscard]] std::uint32_t readable_of(Mfn mfn) const { return count(readable_, mfn); }

 private:
  using Counts = std::unordered_map<Mfn, std::uint32_t>;
  [[nodiscard]] static std::uint32_t count(const Counts& counts, Mfn mfn) {
    const auto found = counts.find(mfn);
    return found == counts.end() ? 0 : found->second;
  }
  Counts typed_, readable_;
};

/// Recomputes references and type counts of all frames of the validator's domain from its live tables,
/// compares each table with its mirror entry by entry, and checks the records' invariants, also of frames
/// that the domain borrows. One line per finding, at most 100; none means that all is as it must be. Time:
/// proportional to the machine's frames and the live tables' entries.
[[nodiscard]] std::vector<std::string> audit(Held held, const Validator& mmu,
                                             const OutsideReferences& outside);

}  // namespace pinfold::pvmmu
