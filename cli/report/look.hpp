// What a frame is, as pictures show it.
#pragma once

#include <cstdint>

#include "pvmmu/frame.hpp"

namespace pinfold::report {

/// A frame at a moment, in a byte. A table or descriptor page is its type as long as that is counted;
/// `writable` stays until the frame becomes another or goes, as in the frame's record.
struct Look {
  static constexpr std::uint8_t absent = 7;  ///< In `type`: not the domain's.
  static constexpr std::uint8_t type_bits = 7, pinned = 8, special = 16, others = 32;

  std::uint8_t raw = absent;

  [[nodiscard]] static constexpr Look of(pvmmu::FrameType type) { return {static_cast<std::uint8_t>(type)}; }
  [[nodiscard]] constexpr bool owned() const { return (raw & type_bits) != absent; }
  [[nodiscard]] constexpr pvmmu::FrameType type() const {
    return owned() ? static_cast<pvmmu::FrameType>(raw & type_bits) : pvmmu::FrameType::none;
  }
  /// The same frame as another type.
  [[nodiscard]] constexpr Look as(pvmmu::FrameType type) const {
    return {static_cast<std::uint8_t>((raw & special) | static_cast<std::uint8_t>(type))};
  }
  [[nodiscard]] constexpr Look with_pin(bool pin) const {
    return {static_cast<std::uint8_t>(pin ? raw | pinned : raw & ~pinned)};
  }
  friend bool operator==(Look, Look) = default;
};

inline constexpr Look look_absent{};
inline constexpr Look look_others{Look::absent | Look::others};  ///< Another domain's, as far as is known.
static_assert(pvmmu::frame_types <= Look::absent);

}  // namespace pinfold::report
