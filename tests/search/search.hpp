// Breadth first through all states that operations reach.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "size.hpp"

namespace pinfold::pvmmu::search {

struct Limits {
  std::uint64_t states = ~0ULL;  ///< The search gives up if there are more.
  std::int64_t seconds = 0;      ///< The search gives up after this time; 0: no limit.
  bool progress = false;         ///< Print a line for each level.
};

struct Result {
  std::uint64_t states = 0, steps = 0, changes = 0, refusals = 0, unfinished = 0;
  unsigned depth = 0;  ///< The length of the longest of the shortest paths.
  std::int64_t seconds = 0;
  bool complete = false;  ///< Every operation was tried in every state.
  /// What is wrong, and the operations that lead there from an empty machine.
  std::optional<std::string> finding;
};

/// One line.
[[nodiscard]] std::string describe(const Result& result);

[[nodiscard]] Result search(const Size& size, const Limits& limits);

}  // namespace pinfold::pvmmu::search
