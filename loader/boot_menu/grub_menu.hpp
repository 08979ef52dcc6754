// A menu from a GRUB 2 configuration: grub.cfg.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::boot_menu {

/// Runs the file. `prefix` is the subvolume that it is in, such as "/@", or empty. `files` outlives the menu.
/// An error is one line.
[[nodiscard]] tl::expected<Menu, std::string> read_grub_menu(BootFiles& files, const FilePlace& place,
                                                             const std::string& prefix);

}  // namespace pinfold::boot_menu
