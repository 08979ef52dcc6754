// How a state was reached, and a description of the way there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "box.hpp"

namespace pinfold::pvmmu::search {

/// The number of the previous state, and the number of the step from there, counted from 0.
struct Origin {
  std::uint32_t parent = 0;
  std::uint32_t step = 0;
};

/// Repeats these steps one after the other, from a machine whose frames are all free. Returns one line for
/// each step, with the contents that were chosen and the state after it.
[[nodiscard]] std::string retrace(const Size& size, const std::vector<std::uint32_t>& steps);

}  // namespace pinfold::pvmmu::search
