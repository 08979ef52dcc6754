#include <fmt/format.h>

#include <algorithm>

#include "cli/manual/completion.hpp"

namespace pinfold::cli::manual {
namespace {

constexpr const char* head = R"(# fish completion for pinfold

function __pinfold_guests
    pinfold list 2>/dev/null | sed -n '2,$s/ .*//p'
end

)";

std::string escaped(const std::string& text) {
  std::string to = "'";
  for (const char c : text) to += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return to + "'";
}

std::string line_of(const std::string& condition, const DescribedOption& option) {
  std::string line = fmt::format("complete -c pinfold -n '{}'", condition);
  for (const std::string& name : option.names)
    line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  if (!option.choices.empty() && !option.value_may_be_missing)
    line += fmt::format(" -x -a '{}'", fmt::join(option.choices, " "));
  else if (is_guest(option))
    line += " -x -a '(__pinfold_guests)'";
  else if (!option.value.empty() && !option.value_may_be_missing)
    line += " -r -F";
  return line + " -d " + escaped(option.about) + "\n";
}

}  // namespace

std::string fish_completion(const DescribedCommand& program, const std::vector<DescribedCommand>& commands) {
  std::string text = std::string(head) + "complete -c pinfold -f\n";
  for (const DescribedOption& option : program.options) text += line_of("__fish_use_subcommand", option);
  for (const DescribedCommand& command : commands)
    text += fmt::format("complete -c pinfold -n __fish_use_subcommand -a {} -d {}\n", command.name,
                        escaped(command.about));
  for (const DescribedCommand& command : commands) {
    const std::string condition = "__fish_seen_subcommand_from " + command.name;
    for (const DescribedOption& option : command.options) text += line_of(condition, option);
    if (std::ranges::any_of(command.positionals, is_guest))
      text += fmt::format("complete -c pinfold -n '{}' -a '(__pinfold_guests)'\n", condition);
    if (std::ranges::any_of(command.positionals, [](const auto& one) { return !is_guest(one); }))
      text += fmt::format("complete -c pinfold -n '{}' -F\n", condition);
  }
  return text;
}

}  // namespace pinfold::cli::manual
