// All steps from a state: each operation, with each budget that makes a difference, and each combination of
// choices on its way.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "box.hpp"
#include "operation.hpp"

namespace pinfold::pvmmu::search {

/// The budgets that are enough for a check or a release to reach the next entry in use. Empty entries before
/// it count as well.
[[nodiscard]] inline std::vector<std::uint64_t> small_budgets(const State& state, std::size_t domain) {
  std::vector<std::uint64_t> all{1};
  for (const FrameImage& f : state.frames) {
    if (f.owner != domain + 1 || !f.partial) continue;
    const std::size_t below = slots_below(f.position);
    const std::size_t next = below < slots.size() ? slots[below] : entries_per_table;
    const std::size_t previous = below > 0 ? slots[below - 1] + 1 : 0;
    const std::size_t empty = f.interrupted ? next - f.position : f.position - previous;
    if (std::ranges::find(all, empty + 1) == all.end()) all.push_back(empty + 1);
  }
  return all;
}

/// Calls `attempt(operation, budget, number)` for each step, always in the same order; steps are numbered
/// from 0. `attempt` has to make the step in the box and return the result, or nothing in order to stop; then
/// `done(outcome)` has to restore the state. Returns false if it stopped. A small budget is left out if the
/// operation without a limit has spent less, since it would make no difference.
///
/// Entries of interrupted tables that were not read yet are not chosen yet. A step that reads one is repeated
/// with each possible entry, after `load()` has restored the state.
template <class Load, class Attempt, class Done>
bool each_step(Box& box, const State& state, Load&& load, Attempt&& attempt, Done&& done) {
  std::uint32_t number = 0;
  const auto all_choices = [&](const Operation& op, std::uint64_t budget, std::uint64_t& most) {
    std::vector<std::uint8_t> chosen;  // tables whose entries are
    box.choices.begin();
    for (bool more = true; more;) {
      box.choose_entries(state, chosen);
      const std::optional<Outcome> outcome = attempt(op, budget, number);
      if (!outcome) return false;
      if (const std::uint8_t table = box.looked_at_unchosen(state, chosen); table != 0) {
        chosen.push_back(table);
        load();
        box.choices.begin();
        continue;
      }
      most = std::max(most, outcome->spent);
      done(op, *outcome);
      ++number;
      more = box.choices.next();
    }
    return true;
  };
  for (const Operation& op : operations(box, state)) {
    std::uint64_t most = 0, ignored = 0;
    if (!all_choices(op, no_limit, most)) return false;
    if (!box.size().pieces || !op.in_pieces) continue;
    for (const std::uint64_t budget : small_budgets(state, op.domain))
      if (most >= budget && !all_choices(op, budget, ignored)) return false;
  }
  return true;
}

}  // namespace pinfold::pvmmu::search
