// Text for manual pages, in the language of man(7).
#pragma once

#include <string>
#include <string_view>

namespace pinfold::cli::manual {

/// The text with nothing in it that roff would take for a command or an escape. Dashes stay ASCII, so that
/// options can be copied from a page.
[[nodiscard]] std::string plain(std::string_view text);
[[nodiscard]] std::string bold(std::string_view text);
[[nodiscard]] std::string italic(std::string_view text);

/// A paragraph of Markdown without its line ends: `code` and **strong** are bold, *emphasis* is italic, and
/// of a link its text stays.
[[nodiscard]] std::string from_markdown(std::string_view text);

/// The beginning of a page. `date`: such as 2026-11-29.
[[nodiscard]] std::string page_head(std::string_view name, int section, std::string_view version,
                                    std::string_view date, std::string_view about);

}  // namespace pinfold::cli::manual
