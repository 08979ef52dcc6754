#include "cli/config/xl_syntax.hpp"

#include <algorithm>
#include <string_view>

namespace pinfold::cli {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view hint_for(std::string_view message) {
  // The library names its tokens: IDENT is a word without quotes.
  if (contains(message, "unexpected IDENT, expecting STRING")) return " (a text needs quotes)";
  if (contains(message, "expecting += or '='")) return " (there is only KEY = VALUE)";
  if (contains(message, "unexpected IDENT, expecting ']'"))
    return " (the list before it has no end, or a comma is missing)";
  if (contains(message, "unexpected STRING, expecting ']'")) return " (a comma is missing)";
  if (contains(message, "expecting $end") || contains(message, "expecting NEWLINE"))
    return " (a line or a ; ends before the next key)";
  if (!contains(message, "lexical error")) return "";
  const auto near = message.find('`');
  const char first = near == std::string_view::npos ? '\0' : message[std::min(near + 1, message.size() - 1)];
  if (first == '"' || first == '\'') return " (the closing quote is missing in this line)";
  if (first >= 'A' && first <= 'Z') return " (keys have small letters)";
  if (first == '-' || first == '+') return " (a number with a sign needs quotes)";
  return "";
}

}  // namespace

Remarks syntax_remarks(const std::vector<XlSyntaxError>& errors, const std::string& source) {
  Remarks remarks;
  bool python = false, unexplained = false;
  for (const auto& [line, message] : errors) {
    // Three lines of advice, the last of them an address.
    if (message.starts_with("warning:")) {
      python = python || contains(message, "Python");
      continue;
    }
    const std::string_view hint = hint_for(message);
    unexplained = unexplained || hint.empty();
    remarks.push_back({Severity::error, source, line, message + std::string(hint)});
  }
  // To the library, each sign looks like Python.
  if (python && unexplained)
    remarks.push_back({Severity::error, source, 0, "this looks like Python, which xl.cfg is not"});
  if (remarks.empty()) remarks.push_back({Severity::error, source, 0, "libxlutil does not accept this"});
  return remarks;
}

}  // namespace pinfold::cli
