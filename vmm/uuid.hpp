// A unique name for a guest.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinfold::vmm {

/// 16 bytes in the order of the text form (RFC 4122, section 4.1.2) and of Xen's
/// xen_domain_handle_t. All zeros: none.
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  /// A random UUID (version 4). Nothing if the host has no random numbers.
  [[nodiscard]] static std::optional<Uuid> random();
  /// From 8-4-4-4-12 hexadecimal digits. Nothing for any other text, and for the nil UUID.
  [[nodiscard]] static std::optional<Uuid> parse(std::string_view text);
  /// In lower case.
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

}  // namespace pinfold::vmm
