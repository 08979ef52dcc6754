// How a state was reached, and the way there in words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "box.hpp"

namespace pinfold::pvmmu::search {

/// From which state, by number, and by which of the steps from there, counted from 0.
struct Origin {
  std::uint32_t parent = 0;
  std::uint32_t step = 0;
};

/// Makes these steps again, each in the state that the one before led to, from a machine whose frames are all
/// free. One line for each with the contents that were chosen, and the state that it led to.
[[nodiscard]] std::string retrace(const Size& size, const std::vector<std::uint32_t>& steps);

}  // namespace pinfold::pvmmu::search
