// A short account of all that a validator knows of its domain's frames, to compare two validators by.
#pragma once

#include <cstdint>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

inline constexpr std::uint64_t frames_per_digest = 512;
/// How many digests a machine of so many frames has.
[[nodiscard]] constexpr std::uint64_t digests_of(std::uint64_t frames) {
  return (frames + frames_per_digest - 1) / frames_per_digest;
}

/// One digest for each 512 frames of the machine, from frame 0 up: of the records of those that are the
/// domain's (references, types, marks, whether there is a mirror) and of the entries of those that are tables
/// or descriptor pages; and of frames of others, how often the domain has them mapped by grants. 0 where the
/// domain has none. Equal states give equal digests; the digest is no protection against somebody who wants
/// two states to have the same.
[[nodiscard]] std::vector<std::uint32_t> state_digests(Held held, const Validator& mmu);

}  // namespace pinfold::pvmmu
