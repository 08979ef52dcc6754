// Tables of upper levels whose check was interrupted, and tables that are being released.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pvmmu/mirror.hpp"

namespace pinfold::pvmmu {

/// How far the work on each partial table got (`Frame::partial`). The first entries of such a table hold
/// references, the others do not.
class UnfinishedTables {
 public:
  /// A table that nobody relies on any more.
  struct Release {
    Mfn table;
    std::size_t end = 0;    ///< Entries from here on hold nothing any more.
    MirrorId mirror;        ///< Kept until the table has ended: it says what the entries hold.
    bool was_seen = false;  ///< A processor may know the mirror.
  };

  // -- checks
  /// The check of a table stopped before `slot`.
  void interrupt(Mfn table, std::size_t slot) { interrupted_.emplace(table, slot); }
  /// The slot at which the check of a table goes on. It is no longer interrupted then.
  [[nodiscard]] std::size_t resume(Mfn table) { return interrupted_.extract(table).mapped(); }
  [[nodiscard]] bool has_interrupted() const { return !interrupted_.empty(); }
  [[nodiscard]] Mfn any_interrupted() const { return interrupted_.begin()->first; }

  // -- releases
  /// The table is one of the others' children, so it is released first.
  void begin_release(const Release& release) { releasing_.push_back(release); }
  [[nodiscard]] bool has_releases() const { return !releasing_.empty(); }
  [[nodiscard]] std::size_t releases() const { return releasing_.size(); }
  [[nodiscard]] Release& innermost_release() { return releasing_.back(); }
  void end_innermost_release() { releasing_.pop_back(); }
  [[nodiscard]] bool is_releasing(Mfn table) const { return find_release(table) != releasing_.end(); }

  /// How many entries of a table, from the first, hold references.
  [[nodiscard]] std::size_t entries_held(Mfn table) const {
    if (const auto found = interrupted_.find(table); found != interrupted_.end()) return found->second;
    const auto release = find_release(table);
    return release == releasing_.end() ? 0 : release->end;
  }

 private:
  friend struct StateAccess;  ///< Of tests that go back to earlier states.
  [[nodiscard]] std::vector<Release>::const_iterator find_release(Mfn table) const {
    return std::find_if(releasing_.begin(), releasing_.end(),
                        [table](const Release& r) { return r.table == table; });
  }

  std::unordered_map<Mfn, std::size_t> interrupted_;  ///< The slot at which each check goes on.
  std::vector<Release> releasing_;  ///< The innermost last. Those of one operation's making, a few at most.
};

}  // namespace pinfold::pvmmu
