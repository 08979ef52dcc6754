// The grant table of a fuzzed frontend.
#pragma once

#include <array>
#include <cstdint>

#include "granting_guest.hpp"
#include "input.hpp"

namespace pinfold::fuzz {

/// Grants that the guest writes as the input says, and what must be left of them in the end.
class GrantedEntries {
 public:
  static constexpr std::uint32_t refs = 32;

  /// Each grant names the frame of its number at first.
  explicit GrantedEntries(devices::GrantingGuest& guest) : guest_(guest) {
    for (std::uint32_t n = 0; n < refs; ++n) guest_.grant(n, n);
  }

  /// Writes an entry, which is none of a ring: reference, flags, frame, domain.
  template <class IsRing>
  void write(Input& input, IsRing is_ring) {
    const std::uint32_t ref = input.take<std::uint8_t>() % refs;
    const auto flags = input.take<std::uint16_t>();
    if (is_ring(ref)) return;
    marks_[ref] = marks_[ref] || (flags & (GTF_reading | GTF_writing)) != 0;
    const auto frame = input.take<std::uint8_t>();
    guest_.grant(ref, frame, flags, input.take<std::uint8_t>() % 2);
  }

  /// When the backend is gone.
  void expect_nothing_left() {
    promise(guest_.target.frames_held() == 0, "no frame is held");
    for (std::uint32_t ref = 0; ref < refs; ++ref) {
      const auto flags = guest_.flags(ref);
      const bool granted = (flags & GTF_type_mask) == GTF_permit_access;
      promise(!granted || marks_[ref] || (flags & (GTF_reading | GTF_writing)) == 0, "no grant is marked");
    }
  }

 private:
  devices::GrantingGuest& guest_;
  std::array<bool, refs> marks_{};  ///< Grants that the guest itself marked.
};

}  // namespace pinfold::fuzz
