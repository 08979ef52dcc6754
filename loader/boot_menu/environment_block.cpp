#include "loader/boot_menu/environment_block.hpp"

namespace pinfold::boot_menu {

std::vector<std::pair<std::string, std::string>> parse_environment_block(std::string_view text) {
  constexpr std::string_view start = "# GRUB Environment Block\n";
  constexpr std::size_t most_variables = 1000;
  std::vector<std::pair<std::string, std::string>> variables;
  if (!text.starts_with(start)) return variables;
  text.remove_prefix(start.size());
  while (!text.empty() && variables.size() < most_variables) {
    // A backslash keeps what follows it, even the end of the line.
    std::string line;
    std::size_t at = 0;
    for (; at < text.size() && text[at] != '\n'; ++at) {
      if (text[at] == '\\' && at + 1 < text.size()) ++at;
      line += text[at];
    }
    text.remove_prefix(at < text.size() ? at + 1 : at);
    const auto equals = line.find('=');
    if (line.starts_with('#') || equals == std::string::npos || equals == 0) continue;
    variables.emplace_back(line.substr(0, equals), line.substr(equals + 1));
  }
  return variables;
}

}  // namespace pinfold::boot_menu
