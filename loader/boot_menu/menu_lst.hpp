// A menu from the configuration of the GRUB before GRUB 2: menu.lst, grub.conf.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::boot_menu {

/// `files` outlives the menu. An error is one line.
[[nodiscard]] tl::expected<Menu, std::string> read_menu_lst(BootFiles& files, const FilePlace& place,
                                                            const std::string& prefix);

}  // namespace pinfold::boot_menu
