#include "loader/boot_menu/grub_run.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::boot_menu {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

/// The words of a command: a value that is not quoted becomes as many words as it has.
class Expansion {
 public:
  explicit Expansion(const GrubContext& context) : context_(context) {}

  void add(const Word& word) {
    is_word_ = false;
    for (const Piece& piece : word.pieces) add(piece);
    if (word.pieces.empty() || is_word_) finish();
  }
  std::vector<std::string> words;

 private:
  void add(const Piece& piece) {
    const std::string text = piece.is_variable ? context_.value(piece.text) : piece.text;
    if (!piece.is_variable || piece.quoted) {
      now_ += text;
      is_word_ = true;
      return;
    }
    for (const char c : text) {
      if (!is_blank(c)) {
        now_ += c;
        is_word_ = true;
      } else if (is_word_) {
        finish();
        is_word_ = false;
      }
    }
  }
  void finish() { words.push_back(std::exchange(now_, {})); }

  const GrubContext& context_;
  std::string now_;
  bool is_word_ = false;
};

/// Takes the words' length from the budget.
std::vector<std::string> expand(GrubContext& context, const std::vector<Word>& of) {
  Expansion expansion(context);
  for (const Word& word : of) {
    std::size_t length = 0;
    for (const Piece& piece : word.pieces)
      length += piece.is_variable ? context.value(piece.text).size() : piece.text.size();
    if (length > context.budget.bytes) {
      context.fail("the menu's script makes texts without end");
      context.leaving = true;
      return {};
    }
    context.budget.bytes -= length;
    expansion.add(word);
  }
  return std::move(expansion.words);
}

int call_function(GrubContext& context, const Script& body, const std::vector<std::string>& words) {
  std::vector<std::pair<std::string, std::string>> before;
  for (std::size_t n = 1; n < std::min<std::size_t>(words.size(), 10); ++n) {
    const std::string name = std::to_string(n);
    before.emplace_back(name, context.value(name));
    context.variables[name] = words[n];
  }
  const int status = run_script(context, body);
  for (auto& [name, value] : before) context.variables[name] = std::move(value);
  // `return` has done what it is for, unless the budget is used up.
  if (context.error.empty()) context.leaving = false;
  return status;
}

bool spend(GrubContext& context) {
  if (context.leaving) return false;
  if (context.budget.commands == 0) {
    context.fail("the menu's script does not end");
    context.leaving = true;
    return false;
  }
  --context.budget.commands;
  return true;
}

int run_if(GrubContext& context, const Command& command) {
  for (const Branch& branch : command.branches)
    if (run_script(context, branch.condition) == 0) return run_script(context, branch.then);
  return command.body ? run_script(context, command.body) : 0;
}

int run_for(GrubContext& context, const Command& command) {
  auto words = expand(context, command.words);
  if (words.empty()) return 1;
  const std::string variable = words[0];
  int status = 0;
  for (std::size_t i = 1; i < words.size() && spend(context); ++i) {
    context.variables[variable] = words[i];
    status = run_script(context, command.body);
  }
  return status;
}

int run_loop(GrubContext& context, const Command& command) {
  const Branch& branch = command.branches.at(0);
  const bool until = command.kind == Command::Kind::until;
  int status = 0;
  while (spend(context) && (run_script(context, branch.condition) == 0) != until)
    status = run_script(context, branch.then);
  return status;
}

int run_simple(GrubContext& context, const Command& command) {
  const auto words = expand(context, command.words);
  if (context.leaving) return 1;
  if (words.empty()) return command.body ? run_script(context, command.body) : 0;
  const auto function = context.functions.find(words[0]);
  if (function == context.functions.end()) return run_command(context, words, command.body);
  const Script body = function->second;  // it may define itself anew
  return call_function(context, body, words);
}

int run_one(GrubContext& context, const Command& command) {
  switch (command.kind) {
    case Command::Kind::simple: return run_simple(context, command);
    case Command::Kind::if_: return run_if(context, command);
    case Command::Kind::for_: return run_for(context, command);
    case Command::Kind::while_:
    case Command::Kind::until: return run_loop(context, command);
    case Command::Kind::function: break;
  }
  constexpr std::size_t most_functions = 1000;
  const auto words = expand(context, command.words);
  if (words.empty() || context.functions.size() >= most_functions) return 1;
  context.functions[words[0]] = command.body;
  return 0;
}

}  // namespace

int run_script(GrubContext& context, const Script& script) {
  if (context.budget.depth == 0) {
    context.fail("the menu's script calls itself without end");
    context.leaving = true;
  }
  if (!script || context.leaving) return 1;
  --context.budget.depth;
  int status = 0;
  for (const Command& command : *script) {
    if (!spend(context)) break;
    status = run_one(context, command);
    context.variables["?"] = std::to_string(status);
  }
  ++context.budget.depth;
  return status;
}

int run_file(GrubContext& context, const FilePlace& place) {
  const auto text = context.read(place);
  if (!text) return 1;
  const auto script = parse_grub_script(*text);
  if (!script) {
    context.notice(place.path + ": " + script.error());
    return 1;
  }
  return run_script(context, *script);
}

}  // namespace pinfold::boot_menu
