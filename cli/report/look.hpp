// What a frame is, as pictures show it.
#pragma once

#include <cstdint>

#include "pvmmu/frame.hpp"

namespace pinfold::report {

/// A frame at a moment. A table or descriptor page is its type as long as that is counted; `writable` stays
/// until the frame becomes another or goes, as in the frame's record.
struct Look {
  static constexpr std::uint8_t absent = 7;  ///< In `type`: not the domain's.
  static constexpr std::uint8_t type_bits = 7, pinned = 8, special = 16, others = 32;

  std::uint8_t raw = absent;
  /// Of an owned frame: whose it is, as a number in the follower's list of domains.
  std::uint8_t domain = 0;

  [[nodiscard]] static constexpr Look of(pvmmu::FrameType type) {
    return {static_cast<std::uint8_t>(type), 0};
  }
  [[nodiscard]] constexpr bool owned() const { return (raw & type_bits) != absent; }
  [[nodiscard]] constexpr pvmmu::FrameType type() const {
    return owned() ? static_cast<pvmmu::FrameType>(raw & type_bits) : pvmmu::FrameType::none;
  }
  /// The same frame as another type.
  [[nodiscard]] constexpr Look as(pvmmu::FrameType type) const {
    return {static_cast<std::uint8_t>((raw & special) | static_cast<std::uint8_t>(type)), domain};
  }
  [[nodiscard]] constexpr Look with_pin(bool pin) const {
    return {static_cast<std::uint8_t>(pin ? raw | pinned : raw & ~pinned), domain};
  }
  friend bool operator==(Look, Look) = default;
};

inline constexpr Look look_absent{};
inline constexpr Look look_others{Look::absent | Look::others, 0};  ///< Another domain's, as far as is known.
static_assert(pvmmu::frame_types <= Look::absent);

}  // namespace pinfold::report
