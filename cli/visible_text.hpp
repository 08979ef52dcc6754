// Text that a guest or its monitor wrote, for the user's terminal.
#pragma once

#include <string>
#include <string_view>

namespace pinfold::cli {

/// The text with everything escaped that a terminal could take for a command, or that hides or reorders other
/// text: control characters (C0, DEL, C1), line and paragraph separators, marks of direction, and bytes that
/// are not UTF-8. "\n" and "\t" stand for themselves, "\x1b" for a byte, "\u{202e}" for a character. Other
/// text stays as it is.
[[nodiscard]] std::string visible(std::string_view text);

/// The same for text of several lines, which stay lines.
[[nodiscard]] std::string visible_lines(std::string_view text);

}  // namespace pinfold::cli
