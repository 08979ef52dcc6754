#include "cli/manual/roff.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pinfold::cli::manual {
namespace {

/// Applies `change` to what stands between two marks at the beginning of `text`, and drops it from there.
/// False: it does not begin with a mark that has an end.
template <class Change>
bool take_marked(std::string_view& text, std::string_view mark, std::string& to, Change change) {
  if (!text.starts_with(mark)) return false;
  const auto end = text.find(mark, mark.size());
  if (end == std::string_view::npos || end == mark.size()) return false;
  to += change(text.substr(mark.size(), end - mark.size()));
  text.remove_prefix(end + mark.size());
  return true;
}

/// The same of [text](target).
bool take_link(std::string_view& text, std::string& to) {
  if (!text.starts_with('[')) return false;
  const auto middle = text.find("](");
  const auto end = middle == std::string_view::npos ? middle : text.find(')', middle);
  if (end == std::string_view::npos) return false;
  to += from_markdown(text.substr(1, middle - 1));
  text.remove_prefix(end + 1);
  return true;
}

}  // namespace

std::string plain(std::string_view text) {
  std::string to;
  for (const char c : text) {
    if (c == '\\')
      to += "\\e";
    else if (c == '-')
      to += "\\-";
    else if (c == '\'')
      to += "\\(aq";
    else if (c == '`')
      to += "\\(ga";
    else if (c == '^')
      to += "\\(ha";
    else if (c == '~')
      to += "\\(ti";
    else
      to += c;
  }
  // A dot at the beginning of a line is a command.
  return to.starts_with('.') ? "\\&" + to : to;
}

std::string bold(std::string_view text) { return "\\fB" + plain(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + plain(text) + "\\fR"; }

std::string from_markdown(std::string_view text) {
  std::string to;
  while (!text.empty()) {
    if (take_marked(text, "`", to, bold) || take_marked(text, "**", to, bold) ||
        take_marked(text, "*", to, italic) || take_link(text, to))
      continue;
    const auto next = std::min(text.find_first_of("`*[", 1), text.size());
    const bool starts_line = to.empty();
    const std::string piece = plain(text.substr(0, next));
    to += starts_line || !piece.starts_with("\\&") ? piece : piece.substr(2);
    text.remove_prefix(next);
  }
  return to;
}

std::string page_head(std::string_view name, int section, std::string_view version, std::string_view date,
                      std::string_view about) {
  std::string title(name);
  std::ranges::transform(title, title.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return fmt::format(".TH {} {} {} \"pinfold {}\" pinfold\n.SH NAME\n{} \\- {}\n", plain(title), section,
                     date, plain(version), plain(name), plain(about));
}

}  // namespace pinfold::cli::manual
