#include "loader/boot_menu/grub_script.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace pinfold::boot_menu {
namespace {

/// The largest real scripts have some thousand.
constexpr unsigned most_words = 200'000;

/// What ends a list of commands: "}", one of some keywords, or the end of the text.
struct Stops {
  std::initializer_list<std::string_view> keywords;
  bool close = false;
  bool end = false;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) { advance(); }

  tl::expected<Script, std::string> parse() {
    Script script = commands({{}, false, true});
    if (!error_.empty()) return tl::unexpected(std::move(error_));
    return script;
  }

 private:
  using Kind = Token::Kind;

  void advance() {
    token_ = lexer_.next();
    if (token_.kind != Kind::end && ++words_ > most_words) fail("more words than any menu has");
  }
  [[nodiscard]] std::string_view keyword() const {
    return token_.kind == Kind::word ? token_.word.bare() : std::string_view();
  }
  void fail(const std::string& what) {
    if (error_.empty()) error_ = "line " + std::to_string(token_.word.line) + ": " + what;
  }
  [[nodiscard]] bool failed() const { return !error_.empty(); }
  /// A keyword, or an error.
  void expect(std::string_view word) {
    if (keyword() != word) return fail("\"" + std::string(word) + "\" is missing");
    advance();
  }

  [[nodiscard]] bool stops(const Stops& stops) const {
    if (token_.kind == Kind::end) return true;
    if (token_.kind == Kind::close) return stops.close;
    const auto word = keyword();
    return !word.empty() &&
           std::find(stops.keywords.begin(), stops.keywords.end(), word) != stops.keywords.end();
  }

  Script commands(const Stops& until) {
    auto list = std::make_shared<std::vector<Command>>();
    if (++depth_ > deepest_nesting) fail("blocks are nested too deeply");
    while (!failed() && !stops(until)) {
      if (token_.kind == Kind::separator)
        advance();
      else if (token_.kind == Kind::word)
        list->push_back(command());
      else
        fail("a brace that belongs to nothing");
    }
    if (token_.kind == Kind::end && !until.end) fail("the text ends within a block");
    --depth_;
    return list;
  }

  Command command() {
    const auto word = keyword();
    if (word == "if") return if_command();
    if (word == "for") return for_command();
    if (word == "while") return loop(Command::Kind::while_);
    if (word == "until") return loop(Command::Kind::until);
    if (word == "function") return function();
    return simple();
  }

  Command simple() {
    Command command;
    while (token_.kind == Kind::word) take_word(command);
    if (token_.kind == Kind::open) command.body = block();
    return command;
  }
  void take_word(Command& command) {
    command.words.push_back(std::move(token_.word));
    advance();
  }

  Script block() {
    advance();
    Script body = commands({{}, true, false});
    if (!failed()) advance();
    return body;
  }

  Command if_command() {
    Command command;
    command.kind = Command::Kind::if_;
    do {
      advance();  // "if" or "elif"
      Branch branch;
      branch.condition = commands({{"then"}});
      expect("then");
      branch.then = commands({{"elif", "else", "fi"}});
      command.branches.push_back(std::move(branch));
    } while (!failed() && keyword() == "elif");
    if (!failed() && keyword() == "else") {
      advance();
      command.body = commands({{"fi"}});
    }
    expect("fi");
    return command;
  }

  Command for_command() {
    Command command;
    command.kind = Command::Kind::for_;
    advance();
    if (token_.kind == Kind::word) take_word(command);
    expect("in");
    while (token_.kind == Kind::word) take_word(command);
    command.body = do_block();
    return command;
  }

  Script do_block() {
    while (token_.kind == Kind::separator) advance();
    expect("do");
    Script body = commands({{"done"}});
    expect("done");
    return body;
  }

  Command loop(Command::Kind kind) {
    Command command;
    command.kind = kind;
    advance();
    Branch branch;
    branch.condition = commands({{"do"}});
    branch.then = do_block();
    command.branches.push_back(std::move(branch));
    return command;
  }

  Command function() {
    Command command;
    command.kind = Command::Kind::function;
    advance();
    if (token_.kind == Kind::word) take_word(command);
    while (token_.kind == Kind::separator) advance();
    if (command.words.empty() || token_.kind != Kind::open)
      fail("a function without a name or a body");
    else
      command.body = block();
    return command;
  }

  GrubLexer lexer_;
  Token token_;
  unsigned depth_ = 0, words_ = 0;
  std::string error_;
};

}  // namespace

tl::expected<Script, std::string> parse_grub_script(std::string_view text) { return Parser(text).parse(); }

}  // namespace pinfold::boot_menu
