// The audit: every count and every mirror, recomputed from the tables alone and compared with what is
// recorded.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// Type references that the monitor holds outside of tables: loaded roots, descriptor tables, vcpu_info
/// pages. Each is one type reference and the general one that comes with it.
class OutsideReferences {
 public:
  void add(Mfn mfn) { ++counts_[mfn]; }
  [[nodiscard]] std::uint32_t of(Mfn mfn) const {
    const auto found = counts_.find(mfn);
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  std::unordered_map<Mfn, std::uint32_t> counts_;
};

/// Recomputes references and type counts of all frames of the validator's domain from its live tables,
/// compares each table with its mirror entry by entry, and checks the records' invariants. One line per
/// finding, at most 100; none means that all is as it must be. Time: proportional to the machine's frames and
/// the live tables' entries.
[[nodiscard]] std::vector<std::string> audit(Held held, const Validator& mmu,
                                             const OutsideReferences& outside);

}  // namespace pinfold::pvmmu
