// What is measured: operations on the validator's public interface, each written and checked as a guest's.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "world.hpp"

namespace pinfold::pvmmu::bench {

/// How often the operation is done, and what the doing of all of them took.
struct Timing {
  std::uint64_t operations = 0;
  double seconds = 0;
};

/// One row: prepares the world, then does the operation at least `operations` times (a multiple of what makes
/// a full round). Throws when the validator refuses: nothing here may be refused.
struct Row {
  std::string_view name;
  Timing (*run)(World& world, std::uint64_t operations);
};

[[nodiscard]] std::span<const Row> rows();

}  // namespace pinfold::pvmmu::bench
