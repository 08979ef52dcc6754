// What must hold in every state and for every step.
#pragma once

#include "box.hpp"
#include "operation.hpp"

namespace pinfold::pvmmu::search {

/// Checks the box, which is in `state`. Throws Finding. It computes for itself what the counts and mirrors
/// must be; then the product's audit has to find nothing either.
void check_state(const Box& box, const State& state);

/// Checks only the views of the domains.
void check_views(const Box& box, const State& state);

/// The mirrors that tables had before a step, and their contents: what a processor may have cached.
struct Remembered {
  std::array<MirrorId, most_frames> mirror{};
  std::array<std::array<Pte, 2>, most_frames> entries{};
};
[[nodiscard]] Remembered remember(const Box& box, const State& state);
/// A mirror entry that allows less than before is in the stale log; a mirror whose table ended is in the log
/// and not free to be used again; a change of an upper level asks for a flush. `flush` is the duty after the
/// step.
void check_flushes(const Box& box, const State& before, const State& after, const Remembered& remembered,
                   std::size_t domain, bool flush);

/// Takes everything back from both domains. Throws Finding if anything is left. The box is in no state
/// afterwards.
void check_teardown(Box& box, const State& state);

}  // namespace pinfold::pvmmu::search
