// Runs GRUB 2 scripts, as far as menus need it.
#pragma once

#include <string>
#include <vector>

#include "loader/boot_menu/grub_context.hpp"

namespace pinfold::boot_menu {

/// Runs a script in a context. Never fails: a command that is not known or goes wrong is passed over, as GRUB
/// does. Returns the last command's status, 0 for success.
int run_script(GrubContext& context, const Script& script);

/// The same for a file: `source`, `configfile`.
int run_file(GrubContext& context, const FilePlace& place);

/// One command, its variables replaced. `body` is what stands in braces behind it, or null.
int run_command(GrubContext& context, const std::vector<std::string>& words, const Script& body);

}  // namespace pinfold::boot_menu
