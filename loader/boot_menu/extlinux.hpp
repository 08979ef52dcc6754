// A menu from the configuration of EXTLINUX, ISOLINUX or SYSLINUX.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::boot_menu {

/// `files` outlives the menu. An error is one line.
[[nodiscard]] tl::expected<Menu, std::string> read_extlinux(BootFiles& files, const FilePlace& place,
                                                            const std::string& prefix);

}  // namespace pinfold::boot_menu
