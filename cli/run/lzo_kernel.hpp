// Kernels that are packed with LZO.
#pragma once

#include <cstddef>
#include <span>

#include "loader/kernel_file.hpp"

namespace pinfold::cli {

/// Has lzop, a program of its own in a process that can reach nothing, unpack what `kernel` (with `lzo`)
/// names in `file`. An error is one line: it is not installed, can't be confined here, or finds the stream
/// damaged.
[[nodiscard]] loader::Loaded<loader::UnpackedKernel> unpack_with_lzop(std::span<const std::byte> file,
                                                                      const loader::UnpackedKernel& kernel,
                                                                      const loader::Progress& progress);

}  // namespace pinfold::cli
