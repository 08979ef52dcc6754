// Which Linux a kernel image is.
#pragma once

#include <compare>
#include <optional>

#include "loader/kernel_image.hpp"

namespace pinfold::loader {

struct LinuxVersion {
  unsigned major = 0, minor = 0;
  friend auto operator<=>(const LinuxVersion&, const LinuxVersion&) = default;
};

/// As the kernel's banner says it, "Linux version 6.16.3 (…": the first that has numbers. nullopt: the kernel
/// says by its notes that it is no Linux, or has no banner. The image's maker wrote the banner; so it is for
/// advice only.
[[nodiscard]] std::optional<LinuxVersion> linux_version_of(const KernelImage& kernel);

}  // namespace pinfold::loader
