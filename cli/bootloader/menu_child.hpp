// Reads menus in a process of its own: whoever wrote a menu may have made it to take over the program that
// reads it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "loader/boot_menu/boot_files.hpp"
#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::cli::bootloader {

/// The files that were fetched so far. What is missing ends the child, with a question.
struct FetchedFiles {
  using Key = std::pair<std::string, std::string>;  ///< Device, path.
  std::vector<boot_menu::BootDevice> devices;
  std::map<Key, std::optional<std::string>> texts;
  std::map<Key, std::vector<std::string>> folders;
};

/// What is asked of the child: the menu, and what one entry of it loads.
struct MenuQuestion {
  std::string entry_text;            ///< As find_entry() has it; empty: the default one.
  std::optional<std::size_t> entry;  ///< Or its number.
};

/// Nothing in it is believed beyond what it can be: texts that are made printable, devices and paths that are
/// checked where they are used.
struct MenuAnswer {
  boot_menu::Menu menu;  ///< Without `load`.
  std::size_t entry = 0;
  tl::expected<boot_menu::Boot, std::string> boot;
};

/// Forks once for each file that the menu needs: a child can only compute and answer, so it asks for a file
/// by its end, and the next one has it. Call it while the process has one thread. An error is one line, of a
/// guest's bytes.
[[nodiscard]] tl::expected<MenuAnswer, std::string> ask_menu_child(boot_menu::BootFiles& files,
                                                                   FetchedFiles& fetched,
                                                                   const MenuQuestion& question);

/// What the child writes, for tests: its answer, or the next file that it needs.
[[nodiscard]] std::string answer_of_child(const FetchedFiles& fetched, const MenuQuestion& question);
struct MissingFile {
  bool is_folder = false;
  FetchedFiles::Key key;
};
struct ChildWords {
  std::optional<MissingFile> missing;
  std::optional<tl::expected<MenuAnswer, std::string>> answer;
};
/// An error: the child wrote something else.
[[nodiscard]] tl::expected<ChildWords, std::string> decode_child_words(const std::string& bytes);

}  // namespace pinfold::cli::bootloader
