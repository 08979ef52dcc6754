// A name for a guest that no other one has.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinfold::vmm {

/// 16 bytes, in the order in which the text has them (RFC 4122, section 4.1.2), which is that of Xen's
/// xen_domain_handle_t. All zeros: none.
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  /// Of version 4, from the host's random numbers; nullopt: the host has none.
  [[nodiscard]] static std::optional<Uuid> random();
  /// 8-4-4-4-12 hexadecimal digits. nullopt for anything else, and for the nil UUID, which names nobody.
  [[nodiscard]] static std::optional<Uuid> parse(std::string_view text);
  /// With small letters.
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

}  // namespace pinfold::vmm
