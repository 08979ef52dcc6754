#include "cli/manual/described.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

namespace pinfold::cli::manual {
namespace {

/// CLI11 gives the value's name and the checks of it in one text, such as "UINT:UINT in [1 - 128]".
void set_value(DescribedOption& to, const std::string& type) {
  const std::regex checked("^(.*?)(?::(?:(?:UINT|INT|FLOAT) in \\[(.+) - (.+)\\]|POSITIVE|NONNEGATIVE))?$");
  std::smatch parts;
  to.value = type;
  if (!std::regex_match(type, parts, checked)) return;
  to.value = parts[1];
  if (to.value == "UINT" || to.value == "INT" || to.value == "FLOAT") to.value = "N";
  if (parts[2].matched) to.limits = fmt::format("From {} to {}.", parts[2].str(), parts[3].str());
  if (to.value.find('|') == std::string::npos) return;
  for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 1) {
    end = to.value.find('|', at);
    to.choices.push_back(to.value.substr(at, end - at));
  }
}

DescribedOption described(const CLI::Option& option) {
  DescribedOption to;
  for (const std::string& name : option.get_snames()) to.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) to.names.push_back("--" + name);
  if (!option.nonpositional()) to.names = {option.get_name(true)};
  if (option.get_items_expected_max() > 0) set_value(to, option.get_type_name());
  to.value_may_be_missing = option.get_items_expected_min() == 0;
  to.several = option.get_items_expected_max() > 1;
  to.required = option.get_required();
  to.preset = option.get_default_str();
  to.about = option.get_description();
  return to;
}

}  // namespace

DescribedCommand described(const CLI::App& command) {
  DescribedCommand to{command.get_parent() == nullptr ? "" : command.get_name(),
                      command.get_description(),
                      command.get_footer(),
                      {},
                      {}};
  for (const CLI::Option* option : command.get_options())
    if (!option->get_group().empty())
      (option->nonpositional() ? to.options : to.positionals).push_back(described(*option));
  return to;
}

std::vector<DescribedCommand> described_commands(const CLI::App& program) {
  std::vector<DescribedCommand> commands;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
    if (!command->get_group().empty()) commands.push_back(described(*command));
  return commands;
}

bool is_guest(const DescribedOption& option) {
  return std::ranges::any_of(option.names, [](const std::string& name) {
    return name == "GUEST" || name == "NAME" || name == "--with";
  });
}

}  // namespace pinfold::cli::manual
