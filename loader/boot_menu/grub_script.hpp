// A GRUB 2 script, parsed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "loader/boot_menu/grub_lexer.hpp"

namespace pinfold::boot_menu {

struct Command;
/// Shared, because a menu's entry keeps its commands until it is chosen.
using Script = std::shared_ptr<const std::vector<Command>>;

struct Branch {
  Script condition, then;
};

/// One command. Which fields it has depends on its kind.
struct Command {
  enum class Kind : std::uint8_t {
    simple,    ///< `words`, and for menuentry and submenu a `body`.
    if_,       ///< `branches`, and the `body` of else.
    for_,      ///< words[0] is the variable, the others its values; `body`.
    while_,    ///< branches[0].
    until,     ///< branches[0].
    function,  ///< words[0] is the name; `body`.
  };
  Kind kind = Kind::simple;
  std::vector<Word> words;
  std::vector<Branch> branches;
  Script body;
};

/// How deep blocks may be in each other.
inline constexpr unsigned deepest_nesting = 64;

/// An error is one line, with the line's number in the text.
[[nodiscard]] tl::expected<Script, std::string> parse_grub_script(std::string_view text);

}  // namespace pinfold::boot_menu
