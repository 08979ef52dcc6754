// Finds the menu of a guest's boot loader, whichever that is.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::boot_menu {

/// Looks on each device, in their order, for the configurations of GRUB 2, EXTLINUX, the old GRUB, and for
/// loader entries; the first menu with an entry is it. `files` outlives the menu. An error says, in one line,
/// what was found instead.
[[nodiscard]] tl::expected<Menu, std::string> find_menu(BootFiles& files);

}  // namespace pinfold::boot_menu
