// An exception on its way to the guest.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// What a processor raised and the guest shall get: a vector with what belongs to it.
struct GuestException {
  std::uint8_t vector = 0;
  std::uint64_t error_code = 0;  ///< Delivered for vectors that have one.
  std::uint64_t address = 0;     ///< #PF: what CR2 holds.
};

}  // namespace pinfold::vmm
