// Words and separators of a GRUB 2 script (the GNU GRUB Manual, 16 "Writing full configuration files
// directly").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pinfold::boot_menu {

/// A part of a word: a text, or a variable in its place.
struct Piece {
  bool is_variable = false;
  bool quoted = false;  ///< A variable's value is not split into words.
  std::string text;     ///< Or the variable's name.
};

struct Word {
  std::vector<Piece> pieces;
  unsigned line = 1;

  /// The word if nothing in it was quoted or stands for a variable: it may be a keyword. Else empty.
  [[nodiscard]] std::string_view bare() const {
    return pieces.size() == 1 && !pieces[0].is_variable && !pieces[0].quoted
               ? std::string_view(pieces[0].text)
               : std::string_view();
  }
};

struct Token {
  enum class Kind : std::uint8_t { word, separator, open, close, end };
  Kind kind = Kind::end;
  Word word;
};

/// Reads any text; there are no errors. A quote that is not closed ends with the text.
class GrubLexer {
 public:
  explicit GrubLexer(std::string_view text) : text_(text) {}
  [[nodiscard]] Token next();

 private:
  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  char take();
  void skip_blanks();
  void read_single_quotes(Word& word);
  void read_double_quotes(Word& word);
  void read_variable(Word& word, bool quoted);

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_ = 1;
};

}  // namespace pinfold::boot_menu
