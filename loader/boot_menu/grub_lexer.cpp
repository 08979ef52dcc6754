#include "loader/boot_menu/grub_lexer.hpp"

namespace pinfold::boot_menu {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool ends_word(char c) { return is_blank(c) || c == '\n' || c == ';'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_'; }

void add(Word& word, char c, bool quoted) {
  if (word.pieces.empty() || word.pieces.back().is_variable || word.pieces.back().quoted != quoted)
    word.pieces.push_back({false, quoted, {}});
  word.pieces.back().text += c;
}

}  // namespace

char GrubLexer::take() {
  const char c = text_[at_++];
  if (c == '\n') ++line_;
  return c;
}

void GrubLexer::skip_blanks() {
  while (!at_end()) {
    if (is_blank(text_[at_]))
      ++at_;
    else if (text_.substr(at_).starts_with("\\\n"))
      take(), take();
    else if (text_[at_] == '#')
      while (!at_end() && text_[at_] != '\n') ++at_;
    else
      return;
  }
}

void GrubLexer::read_single_quotes(Word& word) {
  word.pieces.push_back({false, true, {}});
  while (!at_end()) {
    const char c = take();
    if (c == '\'') return;
    word.pieces.back().text += c;
  }
}

void GrubLexer::read_double_quotes(Word& word) {
  word.pieces.push_back({false, true, {}});
  while (!at_end()) {
    const char c = take();
    if (c == '"') return;
    if (c == '$') {
      read_variable(word, true);
    } else if (c == '\\' && !at_end()) {
      // Only these can be escaped; before anything else the backslash is itself.
      const char escaped = take();
      if (escaped == '\n') continue;
      if (escaped != '$' && escaped != '"' && escaped != '\\') add(word, '\\', true);
      add(word, escaped, true);
    } else {
      add(word, c, true);
    }
  }
}

void GrubLexer::read_variable(Word& word, bool quoted) {
  std::string name;
  if (!at_end() && text_[at_] == '{') {
    const auto end = text_.find('}', at_);
    if (end != std::string_view::npos) {
      name = text_.substr(at_ + 1, end - at_ - 1);
      while (at_ <= end) take();
    }
  } else if (!at_end() &&
             (is_digit(text_[at_]) || text_[at_] == '?' || text_[at_] == '#' || text_[at_] == '@')) {
    name = take();
  } else {
    while (!at_end() && is_name(text_[at_])) name += take();
  }
  if (name.empty())
    add(word, '$', quoted);
  else
    word.pieces.push_back({true, quoted, std::move(name)});
}

Token GrubLexer::next() {
  skip_blanks();
  if (at_end()) return {Token::Kind::end, {{}, line_}};
  Token token{Token::Kind::word, {{}, line_}};
  if (text_[at_] == '\n' || text_[at_] == ';') {
    take();
    token.kind = Token::Kind::separator;
    return token;
  }
  if (text_[at_] == '{' || text_[at_] == '}') {
    token.kind = take() == '{' ? Token::Kind::open : Token::Kind::close;
    return token;
  }
  while (!at_end() && !ends_word(text_[at_])) {
    const char c = take();
    if (c == '\'')
      read_single_quotes(token.word);
    else if (c == '"')
      read_double_quotes(token.word);
    else if (c == '$')
      read_variable(token.word, false);
    else if (c == '\\' && !at_end()) {
      const char escaped = take();
      if (escaped != '\n') add(token.word, escaped, true);
    } else {
      add(token.word, c, false);
    }
  }
  return token;
}

}  // namespace pinfold::boot_menu
