// What QEMU's programs have in common: qemu-img, qemu-nbd.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cli/tools/tool.hpp"

namespace pinfold::cli::images {

/// They need little, but each of their threads has a stack.
inline constexpr std::uint64_t qemu_memory = std::uint64_t{4} << 30;

/// Why one can't be started, and what to do.
[[nodiscard]] std::string why_no_qemu(const tools::ToolFailure& failure);
/// The last line that one of them printed on stderr, without its own name.
[[nodiscard]] std::string complaint_of(const tools::ConfinedTool& tool, std::string_view program);
/// A path that they look at for their own sake. No image is there.
[[nodiscard]] bool is_of_system(const std::string& path);

}  // namespace pinfold::cli::images
