#include <fmt/format.h>

#include <algorithm>

#include "cli/manual/completion.hpp"

namespace pinfold::cli::manual {
namespace {

constexpr const char* head = R"(# bash completion for pinfold

_pinfold_guests() { pinfold list 2>/dev/null | sed -n '2,$s/ .*//p'; }

_pinfold() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]-}
  local words='' files=''
  COMPREPLY=()
)";

/// What to do with the word's candidates: "files" are the shell's own.
constexpr const char* tail =
    R"(  if [ -n "$words" ]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word"); fi
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
  fi
}

complete -F _pinfold pinfold
)";

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, " ")); }

std::string names_of(const std::vector<DescribedOption>& options) {
  std::string all;
  for (const DescribedOption& option : options) all += (all.empty() ? "" : " ") + joined(option.names);
  return all;
}

/// For the word behind the option, a part of `case "$command $before"`; empty if it takes none.
std::string value_case(const std::string& command, const DescribedOption& option) {
  if (option.value.empty() || option.value_may_be_missing) return {};
  std::string patterns;
  for (const std::string& name : option.names)
    patterns += fmt::format("{}'{} {}'", patterns.empty() ? "" : " | ", command, name);
  const std::string what = !option.choices.empty() ? fmt::format("words='{}'", joined(option.choices))
                           : is_guest(option)      ? "words=$(_pinfold_guests)"
                                                   : "files=yes";
  return fmt::format("    {}) {} ;;\n", patterns, what);
}

std::string command_case(const DescribedCommand& command) {
  const bool guests = std::ranges::any_of(command.positionals, is_guest);
  const bool files = std::ranges::any_of(command.positionals, [](const auto& one) { return !is_guest(one); });
  return fmt::format("        {}) words='{}'{}{} ;;\n", command.name, names_of(command.options),
                     guests ? "\" $(_pinfold_guests)\"" : "", files ? "; files=yes" : "");
}

}  // namespace

std::string bash_completion(const DescribedCommand& program, const std::vector<DescribedCommand>& commands) {
  std::string text = head, names = names_of(program.options);
  for (const DescribedCommand& command : commands) names += " " + command.name;
  text += fmt::format("  if [ \"$COMP_CWORD\" = 1 ]; then\n    words='{}'\n  else\n", names);
  text += "    case \"$command $before\" in\n";
  for (const DescribedCommand& command : commands)
    for (const DescribedOption& option : command.options) text += value_case(command.name, option);
  text += "    *)\n      case \"$command\" in\n";
  for (const DescribedCommand& command : commands) text += command_case(command);
  return text + "      esac ;;\n    esac\n  fi\n" + tail;
}

}  // namespace pinfold::cli::manual
