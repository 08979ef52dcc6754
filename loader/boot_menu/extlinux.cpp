#include "loader/boot_menu/extlinux.hpp"

#include <memory>

#include "loader/boot_menu/text_lines.hpp"

namespace pinfold::boot_menu {
namespace {

struct Label {
  std::string name, title, kernel, arguments;
  std::vector<std::string> initrds;
};

/// A key in any case, behind blanks only ("append root=/dev/xvda" has no key "append root").
std::pair<std::string_view, std::string_view> split(std::string_view line) {
  const auto end = std::min(line.find_first_of(" \t"), line.size());
  return {line.substr(0, end), trimmed(line.substr(end))};
}

void add_initrds(Label& label, std::string_view list) {
  while (!list.empty()) {
    const auto end = std::min(list.find(','), list.size());
    if (label.initrds.size() < most_initrds && end > 0)
      label.initrds.emplace_back(trimmed(list.substr(0, end)));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
}

/// "initrd=…" is for the boot loader, the other words are for the kernel.
void append(Label& label, std::string_view text) {
  constexpr std::string_view initrd = "initrd=";
  for (const auto word : words_of(text)) {
    if (word.starts_with(initrd))
      add_initrds(label, word.substr(initrd.size()));
    else
      label.arguments += (label.arguments.empty() ? "" : " ") + std::string(word);
  }
}

struct Config {
  std::vector<Label> labels;
  std::string default_label;
  std::string arguments;  ///< For labels without some of their own.
  int timeout_seconds = -1;
};

void read_menu_line(Config& config, std::string_view text) {
  if (config.labels.empty()) return;
  const auto [key, value] = split(text);
  if (same_word(key, "label")) {
    // '^' marks a letter to press.
    for (const char c : value)
      if (c != '^') config.labels.back().title += c;
  }
  if (same_word(key, "default")) config.default_label = config.labels.back().name;
}

void read_line(Config& config, std::string_view line) {
  const auto [key, value] = split(line);
  if (same_word(key, "label") && config.labels.size() < most_entries)
    config.labels.push_back({std::string(value), {}, {}, {}, {}});
  if (same_word(key, "default")) config.default_label = value;
  // In tenths of a second; 0: for ever.
  if (same_word(key, "timeout")) config.timeout_seconds = small_number(value).value_or(0) / 10;
  if (same_word(key, "menu")) read_menu_line(config, value);
  if (same_word(key, "append") && config.labels.empty()) config.arguments = value;
  if (config.labels.empty()) return;
  Label& label = config.labels.back();
  if (same_word(key, "kernel") || same_word(key, "linux")) label.kernel = value;
  if (same_word(key, "initrd")) add_initrds(label, value);
  if (same_word(key, "append")) append(label, value);
}

}  // namespace

tl::expected<Menu, std::string> read_extlinux(BootFiles& files, const FilePlace& place,
                                              const std::string& prefix) {
  const auto text = files.read(place.device, place.path);
  if (!text) return tl::unexpected(std::string("it can't be read, or is longer than 1 MiB"));
  const auto config = std::make_shared<Config>();
  for (const auto line : lines_of(*text)) read_line(*config, line);
  if (config->labels.empty()) return tl::unexpected(std::string("it has no labels"));
  Menu menu;
  menu.source = place;
  menu.timeout_seconds = config->timeout_seconds;
  for (std::size_t i = 0; i < config->labels.size(); ++i) {
    const Label& label = config->labels[i];
    menu.entries.push_back({label.title.empty() ? label.name : label.title, label.name, "", i, false});
    if (label.name == config->default_label) menu.chosen = i;
  }
  menu.load = [&files, config, place, prefix](std::size_t i) -> tl::expected<Boot, std::string> {
    const Label& label = config->labels.at(i);
    const std::string folder = place.path.substr(0, place.path.find_last_of('/') + 1);
    const auto find = [&](const std::string& path) -> tl::expected<FilePlace, std::string> {
      // A path is relative to the configuration's folder.
      for (const std::string& whole : {path.starts_with('/') ? path : folder + path, prefix + path})
        if (exists(files, {place.device, whole})) return FilePlace{place.device, whole};
      return tl::unexpected("there is no file " + path);
    };
    if (label.kernel.empty()) return tl::unexpected(std::string("it loads no kernel"));
    Boot boot;
    auto kernel = find(label.kernel);
    if (!kernel) return tl::unexpected(kernel.error());
    boot.kernel = *kernel;
    boot.arguments = label.arguments.empty() ? config->arguments : label.arguments;
    for (const std::string& initrd : label.initrds) {
      auto found = find(initrd);
      if (!found) return tl::unexpected(found.error());
      boot.initrds.push_back(*found);
    }
    return boot;
  };
  return menu;
}

}  // namespace pinfold::boot_menu
