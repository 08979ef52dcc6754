#include "cli/config/xl_scanner.hpp"

#include <algorithm>
#include <map>

namespace pinfold::cli {
namespace {

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Walks over the tokens of xl.cfg(5).
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::vector<XlKey> keys() {
    while (at_ < text_.size()) statement();
    return std::move(keys_);
  }

 private:
  [[nodiscard]] char here() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void step() {
    if (here() == '\n') ++line_;
    if (at_ < text_.size()) ++at_;
  }

  void skip_blanks() {
    while (here() == ' ' || here() == '\t') step();
  }

  void skip_comment() {
    while (at_ < text_.size() && here() != '\n') step();
  }

  /// Blanks, ends of lines and comments.
  void skip_space() {
    for (;;) {
      skip_blanks();
      if (here() == '#')
        skip_comment();
      else if (here() == '\n')
        step();
      else
        return;
    }
  }

  /// A string in quotes, which ends in its line.
  void skip_quoted() {
    const char quote = here();
    step();
    while (at_ < text_.size() && here() != '\n') {
      const char c = here();
      step();
      if (c == quote) return;
      if (c == '\\' && here() != '\n') step();
    }
  }

  /// A string, a number, or a character that starts neither.
  void skip_atom() {
    if (here() == '"' || here() == '\'') return skip_quoted();
    step();
    while (is_digit(here()) || is_letter(here())) step();
  }

  /// Notes where the items of the outermost list begin.
  void list(std::vector<unsigned>& item_lines) {
    unsigned depth = 0;
    bool item_follows = false;
    do {
      skip_space();
      const char c = here();
      if (depth == 1 && item_follows && c != ',' && c != ']') {
        item_lines.push_back(line_);
        item_follows = false;
      }
      if (c == '[') {
        ++depth;
        if (depth == 1) item_follows = true;
        step();
      } else if (c == ']') {
        --depth;
        step();
      } else if (c == ',') {
        if (depth == 1) item_follows = true;
        step();
      } else {
        skip_atom();
      }
    } while (depth > 0 && at_ < text_.size());
  }

  void statement() {
    skip_space();
    if (!is_letter(here())) return step();
    const std::size_t start = at_;
    const unsigned line = line_;
    while (is_letter(here()) || is_digit(here()) || here() == '.' || here() == '_') step();
    std::string name(text_.substr(start, at_ - start));
    skip_blanks();
    const bool adds = here() == '+';
    if (adds) step();
    if (here() != '=') return;
    step();
    skip_blanks();
    XlKey found{std::move(name), line, {}, {}, adds};
    if (here() == '[')
      list(found.item_lines);
    else
      skip_atom();
    add(std::move(found), adds);
  }

  void add(XlKey found, bool adds) {
    const auto [place, is_new] = index_.emplace(found.name, keys_.size());
    if (is_new) return keys_.push_back(std::move(found));
    XlKey& known = keys_[place->second];
    if (adds) {
      known.is_added = true;
      known.item_lines.insert(known.item_lines.end(), found.item_lines.begin(), found.item_lines.end());
    } else {
      known.replaced.push_back(known.line);
      known.line = found.line;
      known.is_added = false;
      known.item_lines = std::move(found.item_lines);
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_ = 1;
  std::vector<XlKey> keys_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace

std::vector<XlKey> scan_keys(std::string_view text) { return Scanner(text).keys(); }

}  // namespace pinfold::cli
