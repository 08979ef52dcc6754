// Which states count as the same state.
#pragma once

#include <cstdint>
#include <functional>

#include "state.hpp"

namespace pinfold::pvmmu::search {

/// 128 bits of hash over the whole state, in the form that is the same for all states that differ only in
/// - which number a frame has,
/// - which of the two root registers holds which root,
/// - where between two slots in use a check or release has stopped,
/// - and, if `symmetric`, which number a domain has.
struct Key {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const Key&, const Key&) = default;
};
[[nodiscard]] Key key_of(const State& state, std::uint64_t frames, bool symmetric);

/// A quick hash of the state as it is, without regard to symmetry.
[[nodiscard]] std::uint64_t raw_hash(const State& state);

}  // namespace pinfold::pvmmu::search
