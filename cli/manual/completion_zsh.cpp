#include <fmt/format.h>

#include "cli/manual/completion.hpp"

namespace pinfold::cli::manual {
namespace {

constexpr const char* head = R"zsh(#compdef pinfold

_pinfold_guests() {
  local -a guests
  guests=(${(f)"$(pinfold list 2>/dev/null | sed -n '2,$s/ .*//p')"})
  _describe guest guests
}

_pinfold() {
  local curcontext=$curcontext state line
  local -a commands
)zsh";

/// For a word in '…' of a specification of _arguments or _describe.
std::string escaped(const std::string& text, const char* special) {
  std::string to;
  for (const char c : text) {
    if (c == '\'')
      to += "'\\''";
    else
      to += (std::string_view(special).find(c) == std::string_view::npos ? "" : "\\") + std::string(1, c);
  }
  return to;
}

std::string value_of(const DescribedOption& option) {
  const std::string what = escaped(option.value, ":[]|");
  if (!option.choices.empty()) return fmt::format(":{}:({})", what, fmt::join(option.choices, " "));
  return fmt::format(":{}:{}", what, is_guest(option) ? "_pinfold_guests" : "_files");
}

std::string spec_of(const DescribedOption& option, const std::string& name) {
  std::string spec = fmt::format("'{}{}", option.several ? "*" : "", name);
  const bool optional = !option.value.empty() && option.value_may_be_missing;
  if (optional) spec += "=-";
  spec += fmt::format("[{}]", escaped(option.about, "[]:\\"));
  if (!option.value.empty()) spec += (optional ? ":" : "") + value_of(option);
  return spec + "'";
}

std::string command_case(const DescribedCommand& command) {
  std::string text = fmt::format("    {})\n      _arguments", command.name);
  for (const DescribedOption& option : command.options)
    for (const std::string& name : option.names) text += " \\\n        " + spec_of(option, name);
  for (const DescribedOption& positional : command.positionals)
    text += fmt::format(" \\\n        '{}:{}:{}'", positional.several ? "*" : "", positional.names[0],
                        is_guest(positional) ? "_pinfold_guests" : "_files");
  return text + " ;;\n";
}

}  // namespace

std::string zsh_completion(const DescribedCommand& program, const std::vector<DescribedCommand>& commands) {
  std::string text = std::string(head) + "  commands=(\n";
  for (const DescribedCommand& command : commands)
    text += fmt::format("    '{}:{}'\n", command.name, escaped(command.about, ":\\"));
  text += "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    _arguments";
  for (const DescribedOption& option : program.options)
    for (const std::string& name : option.names) text += " " + spec_of(option, name);
  text += "\n    return\n  fi\n  shift words\n  (( CURRENT-- ))\n  case $words[1] in\n";
  for (const DescribedCommand& command : commands) text += command_case(command);
  return text + "  esac\n}\n\n_pinfold \"$@\"\n";
}

}  // namespace pinfold::cli::manual
