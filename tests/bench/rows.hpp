// What is measured: operations on the validator's public interface, made and checked as a guest's are.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "world.hpp"

namespace pinfold::pvmmu::bench {

/// How often the operation ran, and how long that took in all.
struct Timing {
  std::uint64_t operations = 0;
  double seconds = 0;
};

/// One row: prepares the world, then runs the operation at least `operations` times, in full rounds. Throws
/// if the validator refuses anything.
struct Row {
  std::string_view name;
  Timing (*run)(World& world, std::uint64_t operations);
};

[[nodiscard]] std::span<const Row> rows();

}  // namespace pinfold::pvmmu::bench
