// GRUB's environment block: grubenv, 1024 bytes that keep variables from one boot to the next.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pinfold::boot_menu {

/// Names and values, in their order; empty: it is no such block.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> parse_environment_block(std::string_view text);

}  // namespace pinfold::boot_menu
