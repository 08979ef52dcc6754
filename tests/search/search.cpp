#include "search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "invariants.hpp"
#include "key.hpp"
#include "known_keys.hpp"
#include "path.hpp"
#include "state_access.hpp"
#include "steps.hpp"

namespace pinfold::pvmmu::search {
namespace {

class Search {
 public:
  Search(const Size& size, const Limits& limits)
      : size_(size), limits_(limits), begin_(std::chrono::steady_clock::now()), box_(size) {}

  Result run() {
    const State empty;
    box_.load(empty);
    try {
      add(empty, {});
      result_.complete = levels();
    } catch (const Finding& finding) {
      result_.finding = fmt::format("{}\nThe operations that lead there:\n{}", finding.what(), way());
    }
    result_.states = origins_.size();
    result_.seconds = seconds();
    return std::move(result_);
  }

 private:
  bool levels() {
    std::vector<State> level;
    for (current_ = 0; !next_.empty();) {
      level.swap(next_);
      next_.clear();
      if (limits_.progress)
        fmt::print(stderr, "depth {:2}: {} states, {} so far, {} steps, {} s\n", result_.depth, level.size(),
                   origins_.size(), result_.steps, seconds());
      for (const State& state : level) {
        if (exhausted()) return false;
        expand(state);
        ++current_;
      }
      if (!next_.empty()) ++result_.depth;
    }
    return true;
  }

  [[nodiscard]] bool exhausted() const {
    return origins_.size() > limits_.states || (limits_.seconds != 0 && seconds() > limits_.seconds);
  }

  /// Tries everything in a state.
  void expand(const State& state) {
    seen_.clear();
    before_settled_.reset();
    begin_from(state);
    each_step(
        box_, state, [&] { begin_from(state); },
        [&](const Operation& op, std::uint64_t budget, std::uint32_t number) {
          step_ = number;
          return std::optional(apply(box_, op, budget));
        },
        [&](const Operation& op, const Outcome& outcome) {
          took(state, op, outcome);
          ++result_.steps;
        });
  }

  /// Handles the result of a step. The box is in `state` again afterwards.
  void took(const State& state, const Operation& op, const Outcome& outcome) {
    result_.refusals += !outcome.accepted && !outcome.unfinished ? 1 : 0;
    result_.unfinished += outcome.unfinished ? 1 : 0;
    const BoxDomain& here = box_.domain(op.domain);
    const State now = box_.save();
    const bool flush = box_.domain(op.domain).mmu.take_flush_duty();
    if (same(now, state)) {
      if (box_.chosen.empty() && here.stale.empty() && here.mirrors.retired() == 0) return;
      check_views(box_, now);
    } else {
      ++result_.changes;
      check_flushes(box_, state, now, remembered_, op.domain, flush);
      if (seen_.insert({raw_hash(now), outcome.accepted ? 1ULL : 2ULL})) {
        add(now, {current_, step_});
        if (!outcome.accepted && !box_.frame_stuck) unchanged(state, now);
      }
    }
    begin_from(state);
  }
  void begin_from(const State& state) {
    box_.load(state);
    box_.chosen.clear();
    box_.frame_stuck = false;
    remembered_ = remember(box_, state);
  }

  /// Checks that an operation that was refused or is unfinished has changed nothing but the progress of
  /// checks and releases.
  void unchanged(const State& before, const State& now) {
    if (!before_settled_) before_settled_ = settled(before);
    if (!same(settled(now), *before_settled_)) throw Finding("a refused operation changed something");
  }
  /// The state after all interrupted checks were given up and all releases were finished.
  State settled(const State& state) {
    box_.load(state);
    for (std::size_t d = 0; d < domains; ++d) StateAccess::settle(box_.domain(d).mmu, box_.domain(d).held);
    return box_.save();
  }

  /// Records the current state of the box if it is new, and checks it: as it was reached, as it is loaded
  /// again, and whether everything can be taken back from there.
  void add(const State& state, Origin origin) {
    if (!known_.insert(key_of(state, size_.frames, size_.second == Second::all))) return;
    check_state(box_, state);
    box_.load(state);
    check_state(box_, state);
    check_teardown(box_, state);
    origins_.push_back(origin);
    next_.push_back(state);
  }

  /// The path to the step that is being tried.
  [[nodiscard]] std::string way() const {
    std::vector<std::uint32_t> steps{step_};
    for (std::uint32_t at = current_; at != 0; at = origins_[at].parent) steps.push_back(origins_[at].step);
    std::ranges::reverse(steps);
    return retrace(size_, steps);
  }

  [[nodiscard]] std::int64_t seconds() const {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin_)
        .count();
  }

  Size size_;
  Limits limits_;
  std::chrono::steady_clock::time_point begin_;
  Box box_;
  Result result_;
  KnownKeys known_;
  std::vector<Origin> origins_;
  std::vector<State> next_;
  // Of the state that is being expanded:
  std::uint32_t current_ = 0;  ///< Its number.
  std::uint32_t step_ = 0;     ///< The step that is being tried.
  KnownKeys seen_;
  Remembered remembered_;
  std::optional<State> before_settled_;
};

}  // namespace

std::string describe(const Result& r) {
  return fmt::format(
      "{} states, {} steps ({} changed something, {} were refused, {} are to go on), depth {}, {} s: {}",
      r.states, r.steps, r.changes, r.refusals, r.unfinished, r.depth, r.seconds,
      r.complete ? "complete" : "not complete");
}

Result search(const Size& size, const Limits& limits) { return Search(size, limits).run(); }

}  // namespace pinfold::pvmmu::search
