// Numbers of clients and of transactions.
#pragma once

#include <cstdint>

namespace pinfold::devices::xenstore {

/// The next number after `last` that is not taken. Numbers come round after 2^32; 0 means none. Some number
/// has to be free.
template <class IsTaken>
[[nodiscard]] std::uint32_t next_number(std::uint32_t last, const IsTaken& is_taken) {
  do {
    ++last;
  } while (last == 0 || is_taken(last));
  return last;
}

}  // namespace pinfold::devices::xenstore
