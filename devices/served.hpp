// How much of what a guest has for a device was worked off.
#pragma once

#include <cstdint>

namespace pinfold::devices {

enum class Served : std::uint8_t {
  all,
  some,  ///< As much as one stretch may take; there is more.
};

}  // namespace pinfold::devices
