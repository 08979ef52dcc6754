// GRUB's command `search`: the device that has a file system, a label or a file.
#pragma once

#include <span>
#include <string>

#include "loader/boot_menu/grub_context.hpp"

namespace pinfold::boot_menu {

/// `search --fs-uuid --set=root UUID` and its other forms. Sets the variable, if there is such a device.
int grub_search(GrubContext& context, std::span<const std::string> words);

/// `search.fs_uuid UUID VARIABLE [HINT…]` and the like.
int grub_search_uuid(GrubContext& context, std::span<const std::string> words);
int grub_search_label(GrubContext& context, std::span<const std::string> words);
int grub_search_file(GrubContext& context, std::span<const std::string> words);

}  // namespace pinfold::boot_menu
