#include "loader/boot_menu/grub_search.hpp"

#include <algorithm>

#include "loader/boot_menu/text_lines.hpp"

namespace pinfold::boot_menu {
namespace {

enum class By : std::uint8_t { uuid, label, file };

bool has(GrubContext& context, const BootDevice& device, By by, const std::string& what) {
  switch (by) {
    case By::uuid: return same_word(device.uuid, what);
    case By::label: return device.label == what;
    case By::file: return exists(context.files, {device.name, what});
  }
  return false;
}

int find_and_set(GrubContext& context, By by, const std::string& what, const std::string& variable) {
  if (what.empty()) return 1;
  const auto& devices = context.files.devices();
  const auto found = std::find_if(devices.begin(), devices.end(), [&](const BootDevice& device) {
    return device.has_files && has(context, device, by, what);
  });
  if (found == devices.end()) return 1;
  context.variables[variable.empty() ? "root" : variable] = found->name;
  return 0;
}

}  // namespace

int grub_search(GrubContext& context, std::span<const std::string> words) {
  By by = By::file;
  std::string what, variable;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--fs-uuid" || word == "-u")
      by = By::uuid;
    else if (word == "--label" || word == "--fs-label" || word == "-l")
      by = By::label;
    else if (word == "--file" || word == "-f")
      by = By::file;
    else if (word.starts_with("--set="))
      variable = word.substr(6);
    else if (word == "--hint")  // the others are one word with their value
      ++i;
    else if ((word == "--set" || word == "-s") && i + 2 < words.size() && !words[i + 1].starts_with('-'))
      variable = words[++i];
    else if (!word.starts_with('-') && what.empty())
      what = word;
  }
  return find_and_set(context, by, what, variable);
}

int grub_search_uuid(GrubContext& context, std::span<const std::string> words) {
  return words.size() < 2 ? 1 : find_and_set(context, By::uuid, words[1], words.size() > 2 ? words[2] : "");
}

int grub_search_label(GrubContext& context, std::span<const std::string> words) {
  return words.size() < 2 ? 1 : find_and_set(context, By::label, words[1], words.size() > 2 ? words[2] : "");
}

int grub_search_file(GrubContext& context, std::span<const std::string> words) {
  return words.size() < 2 ? 1 : find_and_set(context, By::file, words[1], words.size() > 2 ? words[2] : "");
}

}  // namespace pinfold::boot_menu
