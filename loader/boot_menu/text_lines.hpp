// Lines, words and numbers of the simple menu formats.
#pragma once

#include <cstddef>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace pinfold::boot_menu {

/// Without blanks around.
[[nodiscard]] std::string_view trimmed(std::string_view text);

/// The lines of a text, without blanks around them, without empty ones and comments ('#').
[[nodiscard]] std::vector<std::string_view> lines_of(std::string_view text);

/// "key value", "key=value", "key = value": both trimmed.
[[nodiscard]] std::pair<std::string_view, std::string_view> key_and_value(std::string_view line);

/// What blanks separate.
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view text);

/// 0 to 999999.
[[nodiscard]] std::optional<int> small_number(std::string_view text);

/// Without regard to case, for ASCII.
[[nodiscard]] bool same_word(std::string_view a, std::string_view b);

}  // namespace pinfold::boot_menu
