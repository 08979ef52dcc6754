// Linux's bzImage: a real-mode setup part, protected-mode code, and inside that the packed kernel.
#pragma once

#include <cstddef>
#include <span>

#include "loader/load_error.hpp"

namespace pinfold::loader {

/// Does the file carry the setup header's signatures? Says nothing about the rest of it.
[[nodiscard]] bool is_bzimage(std::span<const std::byte> file);

/// The payload of a bzImage, its final size word included (Linux, Documentation/x86/boot.rst: payload_offset
/// and payload_length, boot protocol 2.08 and later). Errors: an older protocol, a file shorter than its
/// headers say.
[[nodiscard]] Loaded<std::span<const std::byte>> bzimage_payload(std::span<const std::byte> file);

}  // namespace pinfold::loader
