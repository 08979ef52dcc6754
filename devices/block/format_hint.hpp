// A hint for users whose "raw" image is not raw.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace pinfold::devices::block {

/// How many bytes of an image's start format_hint() looks at.
inline constexpr std::size_t format_hint_bytes = 512;

/// The name of the image or archive format whose signature is at the image's start. It is for a notice and
/// nothing else: a guest writes its own images, and can make a raw one look like any format.
[[nodiscard]] std::optional<std::string> format_hint(std::span<const std::byte> start);

}  // namespace pinfold::devices::block
