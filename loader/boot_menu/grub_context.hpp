// What a GRUB 2 script works on: variables, functions, the menu that it makes, the kernel that it loads.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/boot_menu/boot_files.hpp"
#include "loader/boot_menu/boot_menu.hpp"
#include "loader/boot_menu/grub_script.hpp"

namespace pinfold::boot_menu {

/// What a script may still use up. A script that uses up one of them stops where it is.
struct GrubBudget {
  std::size_t commands = 200'000;
  std::size_t bytes = 16 << 20;  ///< Of words, after their variables were replaced.
  std::size_t files = 64;        ///< Other scripts, and environment blocks.
  unsigned depth = 100;          ///< Of blocks, functions and scripts in each other.
};

/// A line of the menu, and what is done if it is chosen.
struct GrubLine {
  MenuEntry entry;
  Script body;  ///< Or, of a Boot Loader Specification entry:
  std::optional<Boot> known;
};

struct GrubContext {
  BootFiles& files;
  std::string home;    ///< The device on which the menu was found,
  std::string prefix;  ///< and the subvolume, such as "/@": it stands before paths that are not found.
  GrubBudget budget = {};
  std::map<std::string, std::string, std::less<>> variables = {};
  std::map<std::string, Script, std::less<>> functions = {};
  std::vector<GrubLine> lines = {};
  std::string parent = {};        ///< The submenu that is being read, as MenuEntry has it.
  std::optional<Boot> boot = {};  ///< What `linux` and `initrd` have named so far.
  bool with_hypervisor = false;   ///< `multiboot` or `xen_hypervisor` came first: the kernel is a module.
  bool leaving = false;           ///< `return`, or the budget is used up.
  std::vector<std::string> notices = {};
  std::string error = {};  ///< Why what is chosen can't be booted. The first one.

  [[nodiscard]] std::string value(std::string_view variable) const;
  [[nodiscard]] std::string root() const { return value("root"); }
  void notice(const std::string& text);
  void fail(const std::string& text);
  /// A file that a script names, if it is there.
  [[nodiscard]] std::optional<FilePlace> find(std::string_view path) const;
  /// Its text, within the budget.
  [[nodiscard]] std::optional<std::string> read(const FilePlace& place);
};

}  // namespace pinfold::boot_menu
