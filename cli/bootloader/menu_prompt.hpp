// The menu of a guest's boot loader, on the console.
#pragma once

#include <cstddef>

#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::cli::bootloader {

/// Prints the menu to `output`, with numbers, and reads a number and Enter from `input`. Enter alone, the end
/// of the input, and the end of the menu's time (10 seconds if it has none) choose the default. Once
/// something is typed, there is no hurry.
[[nodiscard]] std::size_t prompt_for_entry(const boot_menu::Menu& menu, int input, int output);

}  // namespace pinfold::cli::bootloader
