// Every key of xl.cfg(5), and what pinfold does with it. docs/xl-cfg.md is made of this table.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pinfold::cli {

enum class KeyUse : std::uint8_t {
  obeyed,
  later,    ///< Understood and shown; a guest that needs it is refused at its start.
  ignored,  ///< A notice says so.
  foreign,  ///< Of guests that are not PV, or not on x86: one notice for all of them.
  refused,  ///< An error, unless the value is as good as none: 0, an empty text, an empty list.
};

struct XlKeyRule {
  std::string_view name;
  KeyUse use;
  std::string_view note;  ///< What it does here, or why it does nothing. Half a sentence.
};

/// In the order of xl.cfg(5).
[[nodiscard]] std::span<const XlKeyRule> xl_key_rules();

/// Null for a key that xl does not have.
[[nodiscard]] const XlKeyRule* find_xl_key(std::string_view name);

/// The known key that differs from this one in one letter, or in two that changed places; empty if there is
/// none.
[[nodiscard]] std::string_view similar_xl_key(std::string_view name);

/// As the document says it: "obeyed", "understood, not yet obeyed", …
[[nodiscard]] std::string_view name_of(KeyUse use);

}  // namespace pinfold::cli
