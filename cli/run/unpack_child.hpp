// Unpacks a kernel in a process of its own.
#pragma once

#include <chrono>
#include <functional>
#include <span>

#include "loader/kernel_file.hpp"
#include "sandbox/policy.hpp"

namespace pinfold::cli {

/// loader::unpack_kernel in a confined child, because whoever made the file may have made it to take over the
/// program that unpacks it. Nothing that the child says is believed beyond what it can be: bytes to be
/// parsed, a place in the file to be checked, a line to be printed. What LZO packed is left to lzop.
[[nodiscard]] loader::Loaded<loader::UnpackedKernel> unpack_in_child(std::span<const std::byte> file,
                                                                     const loader::Progress& progress,
                                                                     sandbox::Mode mode = sandbox::Mode::on);

/// What the child does with the file: it writes messages to its parent, and the result. Tests have it do
/// something else.
using ChildWork = std::function<void(std::span<const std::byte> file, int to_parent)>;
/// The same with other work, and seconds that the child may be silent.
[[nodiscard]] loader::Loaded<loader::UnpackedKernel> unpack_by(std::span<const std::byte> file,
                                                               const loader::Progress& progress,
                                                               const ChildWork& work,
                                                               std::chrono::seconds patience,
                                                               sandbox::Mode mode = sandbox::Mode::on);

}  // namespace pinfold::cli
