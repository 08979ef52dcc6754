// The parts of a validator's state that no operation can set, for a search that goes back to earlier states.
#pragma once

#include <span>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// A friend of Validator. Sets and reads what the records, the tables and the mirrors do not show.
struct StateAccess {
  /// An interrupted check, or a release. Only this has the mirror of a table that is being released.
  struct Progress {
    Mfn table;
    std::size_t position = 0;
    MirrorId mirror = no_mirror;
    bool was_seen = false;
  };
  static void set(Validator& mmu, std::span<const Progress> interrupted, std::span<const Progress> releasing,
                  std::uint64_t owned) {
    mmu.unfinished_.interrupted_.clear();
    for (const Progress& p : interrupted) mmu.unfinished_.interrupted_.emplace(p.table, p.position);
    mmu.unfinished_.releasing_.clear();
    for (const Progress& p : releasing)
      mmu.unfinished_.releasing_.push_back({p.table, p.position, p.mirror, p.was_seen});
    mmu.owned_ = owned;
  }
  template <class Visit>
  static void each_interrupted(const Validator& mmu, Visit&& visit) {
    for (const auto& [table, position] : mmu.unfinished_.interrupted_) visit(table, position);
  }
  template <class Visit>
  static void each_releasing(const Validator& mmu, Visit&& visit) {
    for (const auto& r : mmu.unfinished_.releasing_) visit(Progress{r.table, r.end, r.mirror, r.was_seen});
  }
  /// Gives up all checks that were interrupted and finishes all releases.
  static void settle(Validator& mmu, Held held) {
    mmu.set_budget(held, Budget::unlimited());
    (void)mmu.finish_releases(held);
    while (!mmu.unfinished_.interrupted_.empty()) {
      const auto [table, position] = *mmu.unfinished_.interrupted_.begin();
      mmu.unfinished_.interrupted_.erase(table);
      mmu.give_up(table, position);
      (void)mmu.finish_releases(held);
    }
  }
  /// Makes the frame that of the domain with this tag, or nobody's. No record changes.
  static void set_owner_tag(FrameTable& frames, Mfn mfn, std::uint16_t tag) {
    frames.set_owner_tag(mfn, tag);
  }
  [[nodiscard]] static DomainRecords& records(Validator& mmu) { return mmu.records_; }
  [[nodiscard]] static std::uint32_t holds(const Validator& mmu, Mfn mfn) { return mmu.records_.holds(mfn); }
  [[nodiscard]] static std::uint64_t budget_left(const Validator& mmu) { return mmu.budget_.left(); }
};

}  // namespace pinfold::pvmmu
