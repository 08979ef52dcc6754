#include "loader/boot_menu/boot_menu.hpp"

#include <algorithm>

namespace pinfold::boot_menu {
namespace {

/// "1>2" is "1" and "2"; ">>" is a '>' in a title.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '>')
      parts.back() += text[i];
    else if (text.substr(i).starts_with(">>"))
      parts.back() += text[i++];
    else
      parts.emplace_back();
  }
  return parts;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 9 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// The first entry behind `from` that is in no submenu of its own kind: something to load.
std::optional<std::size_t> first_in(const Menu& menu, std::size_t from) {
  for (std::size_t i = from; i < menu.entries.size(); ++i)
    if (!menu.entries[i].is_submenu) return i;
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> find_entry(const Menu& menu, std::string_view text) {
  std::string parent;
  std::size_t at = menu.entries.size();
  for (const std::string& part : parts_of(text)) {
    const auto found = std::find_if(menu.entries.begin(), menu.entries.end(), [&](const MenuEntry& entry) {
      return entry.parent == parent &&
             (is_number(part) ? entry.place == std::stoul(part) : entry.id == part || entry.title == part);
    });
    if (found == menu.entries.end()) return std::nullopt;
    at = static_cast<std::size_t>(found - menu.entries.begin());
    parent += std::to_string(found->place) + ">";
  }
  return first_in(menu, at);
}

}  // namespace pinfold::boot_menu
