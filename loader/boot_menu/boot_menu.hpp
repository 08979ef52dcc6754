// What a guest's boot loader would offer: a list of kernels, and which of them is the default.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "loader/boot_menu/boot_files.hpp"

namespace pinfold::boot_menu {

/// Bounds of a menu and of the work that it causes. Real menus need a hundredth of them.
inline constexpr std::size_t longest_menu_file = 1 << 20;  ///< Bytes.
inline constexpr std::size_t most_entries = 10'000;
inline constexpr std::size_t most_initrds = 64;

/// What to load.
struct Boot {
  FilePlace kernel;
  std::vector<FilePlace> initrds;  ///< One after the other.
  std::string arguments;           ///< The kernel's command line.
};

/// A line of the menu. Titles, IDs and all messages have bytes of the guest's: make them printable. What it
/// loads is often found out only when it is chosen.
struct MenuEntry {
  std::string title;
  std::string id;           ///< Empty: none.
  std::string parent;       ///< The places of the submenus around it: "1>" for what is in the second line.
  std::size_t place = 0;    ///< In its menu or submenu, from 0.
  bool is_submenu = false;  ///< What is in it follows.
};

struct Menu {
  FilePlace source;  ///< The file, or folder, that it was read from.
  std::vector<MenuEntry> entries;
  std::size_t chosen = 0;            ///< The default. Less than the number of entries, unless there are none.
  int timeout_seconds = -1;          ///< Negative: none is given.
  std::vector<std::string> notices;  ///< What was not understood; one line each, a few of them.
  /// What an entry loads. An error says, in one line, why it can't be booted here.
  std::function<tl::expected<Boot, std::string>(std::size_t entry)> load;
};

/// The entry that a text means: a number, an ID, a title, or several with '>' between them for submenus. For
/// a submenu it is the first entry in it. nullopt: none.
[[nodiscard]] std::optional<std::size_t> find_entry(const Menu& menu, std::string_view text);

}  // namespace pinfold::boot_menu
