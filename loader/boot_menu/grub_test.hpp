// GRUB's command `test`, also written `[ … ]`.
#pragma once

#include <span>
#include <string>

#include "loader/boot_menu/grub_context.hpp"

namespace pinfold::boot_menu {

/// Without the command's name and the bracket at the end. What is not known is false.
[[nodiscard]] bool evaluate_test(GrubContext& context, std::span<const std::string> words);

}  // namespace pinfold::boot_menu
