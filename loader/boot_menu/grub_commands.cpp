// The commands of GRUB 2 that make a menu and load a kernel. All others have no effect here.
#include <algorithm>
#include <array>
#include <span>

#include "loader/boot_menu/environment_block.hpp"
#include "loader/boot_menu/grub_run.hpp"
#include "loader/boot_menu/grub_search.hpp"
#include "loader/boot_menu/grub_test.hpp"
#include "loader/boot_menu/loader_entries.hpp"
#include "loader/boot_menu/text_lines.hpp"

namespace pinfold::boot_menu {
namespace {

using Words = std::span<const std::string>;  ///< The first one is the command.

std::string joined(Words words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

int set(GrubContext& context, Words words) {
  constexpr std::size_t most_variables = 10'000;
  if (words.size() < 2) return 1;
  const auto equals = words[1].find('=');
  if (equals == std::string::npos || equals == 0 || context.variables.size() >= most_variables) return 1;
  std::string value = words[1].substr(equals + 1);
  const std::string name = words[1].substr(0, equals);
  // GRUB keeps a device without parentheses, and takes it with them.
  if (name == "root" && value.starts_with('(') && value.ends_with(')'))
    value = value.substr(1, value.size() - 2);
  context.variables[name] = std::move(value);
  return 0;
}

int load_env(GrubContext& context, Words words) {
  std::string file = context.value("prefix") + "/grubenv";
  std::vector<std::string> wanted;
  for (std::size_t i = 1; i < words.size(); ++i) {
    if ((words[i] == "-f" || words[i] == "--file") && i + 1 < words.size())
      file = words[++i];
    else if (words[i].starts_with("--file="))
      file = words[i].substr(7);
    else if (!words[i].starts_with('-'))
      wanted.push_back(words[i]);
  }
  const auto place = context.find(file);
  const auto text = place ? context.read(*place) : std::nullopt;
  if (!text) return 1;
  for (auto& [name, value] : parse_environment_block(*text))
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end())
      context.variables[name] = std::move(value);
  return 0;
}

std::optional<FilePlace> find_or_fail(GrubContext& context, const std::string& path) {
  auto place = context.find(path);
  if (!place) context.fail("there is no file " + path);
  return place;
}

/// The words that are not options of the command.
Words arguments(Words words) {
  words = words.subspan(1);
  while (!words.empty() && words[0].starts_with('-')) words = words.subspan(1);
  return words;
}

int linux_command(GrubContext& context, Words words) {
  const Words given = arguments(words);
  if (given.empty()) return 1;
  const auto place = find_or_fail(context, given[0]);
  if (!place) return 1;
  context.boot = Boot{*place, {}, joined(given.subspan(1))};
  return 0;
}

int initrd_command(GrubContext& context, Words words) {
  if (!context.boot) return 1;
  for (const std::string& path : arguments(words)) {
    if (context.boot->initrds.size() >= most_initrds) return 1;
    // Files that GRUB would add under another name ("newc:NAME:PATH") are left out.
    if (path.starts_with("newc:")) continue;
    const auto place = find_or_fail(context, path);
    if (!place) return 1;
    context.boot->initrds.push_back(*place);
  }
  return 0;
}

/// An entry for a hypervisor has the kernel as its first module, and the RAM disk as the second.
int module_command(GrubContext& context, Words words) {
  if (!context.with_hypervisor) return 1;
  return context.boot ? initrd_command(context, words) : linux_command(context, words);
}

int hypervisor_command(GrubContext& context, Words) {
  context.with_hypervisor = true;
  return 0;
}

int chain_command(GrubContext& context, Words words) {
  context.fail("it starts another boot loader (" + words[0] + ")");
  return 1;
}

int source(GrubContext& context, Words words) {
  const auto place = words.size() > 1 ? context.find(words[1]) : std::nullopt;
  return place ? run_file(context, *place) : 1;
}

/// Another menu takes the place of this one.
int configfile(GrubContext& context, Words words) {
  const auto place = words.size() > 1 ? context.find(words[1]) : std::nullopt;
  if (!place) return 1;
  context.lines.clear();
  const int status = run_file(context, *place);
  context.leaving = true;
  return status;
}

/// Variables in the options of a loader entry, such as $kernelopts.
std::string replaced(GrubContext& context, const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$') {
      result += text[i];
      continue;
    }
    const auto is_name = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    const bool braces = i + 1 < text.size() && text[i + 1] == '{';
    std::size_t end = i + (braces ? 2 : 1);
    const std::size_t start = end;
    while (end < text.size() && is_name(text[end])) ++end;
    const std::string value = context.value(text.substr(start, end - start));
    if (value.size() > context.budget.bytes) return result;
    context.budget.bytes -= value.size();
    result += value;
    i = braces && end < text.size() && text[end] == '}' ? end : end - 1;
  }
  return result;
}

int blscfg(GrubContext& context, Words words) {
  std::optional<FilePlace> folder;
  const std::string set_by_user = words.size() > 1 ? words[1] : context.value("blsdir");
  for (const std::string& path :
       {set_by_user, std::string("/loader/entries"), std::string("/boot/loader/entries")}) {
    if (path.empty() || folder) continue;
    const auto place = context.find(path);
    if (place && is_folder(context.files, *place)) folder = place;
  }
  if (!folder) return 1;
  for (const LoaderEntry& entry : read_loader_entries(context.files, *folder, EntryOrder::by_id)) {
    if (context.lines.size() >= most_entries) return 1;
    GrubLine line;
    line.entry = {entry.title, entry.id, context.parent, 0, false};
    Boot boot;
    boot.arguments = trimmed(replaced(context, entry.options));
    boot.kernel = {context.root(), entry.kernel};
    for (const std::string& initrd : entry.initrds)
      if (auto path = replaced(context, initrd); !path.empty())
        boot.initrds.push_back({context.root(), std::move(path)});
    line.known = std::move(boot);
    context.lines.push_back(std::move(line));
  }
  return 0;
}

using Handler = int (*)(GrubContext&, Words);
struct KnownCommand {
  std::string_view name;
  Handler run;
};

int nothing(GrubContext&, Words) { return 0; }
int test(GrubContext& context, Words words) { return evaluate_test(context, words.subspan(1)) ? 0 : 1; }
int bracket(GrubContext& context, Words words) {
  if (words.back() != "]") return 1;
  return evaluate_test(context, words.subspan(1, words.size() - 2)) ? 0 : 1;
}
int unset(GrubContext& context, Words words) {
  if (words.size() > 1)
    if (const auto found = context.variables.find(words[1]); found != context.variables.end())
      context.variables.erase(found);
  return 0;
}
int leave(GrubContext& context, Words words) {
  context.leaving = true;
  return words.size() > 1 ? small_number(words[1]).value_or(0) : 0;
}

constexpr auto known_commands = std::to_array<KnownCommand>({
    {"[", bracket},
    {"test", test},
    {"set", set},
    {"unset", unset},
    {"return", leave},
    {"load_env", load_env},
    {"search", grub_search},
    {"search.fs_uuid", grub_search_uuid},
    {"search.fs_label", grub_search_label},
    {"search.file", grub_search_file},
    {"linux", linux_command},
    {"linux16", linux_command},
    {"linuxefi", linux_command},
    {"initrd", initrd_command},
    {"initrd16", initrd_command},
    {"initrdefi", initrd_command},
    {"multiboot", hypervisor_command},
    {"multiboot2", hypervisor_command},
    {"xen_hypervisor", hypervisor_command},
    {"module", module_command},
    {"module2", module_command},
    {"xen_module", module_command},
    {"xen_linux", module_command},
    {"xen_initrd", module_command},
    {"chainloader", chain_command},
    {"source", source},
    {".", source},
    {"configfile", configfile},
    {"normal", configfile},
    {"blscfg", blscfg},
    // With an effect on the screen or on the disk, or on what comes later by itself.
    {"true", nothing},
    {"export", nothing},
    {"insmod", nothing},
    {"echo", nothing},
    {"save_env", nothing},
    {"terminal_output", nothing},
    {"terminal_input", nothing},
});

/// A line of the menu: its title, and options that name it. `place` is found out in the end.
void add_line(GrubContext& context, Words words, const Script& body, bool is_submenu) {
  if (context.lines.size() >= most_entries) {
    context.notice("more entries than " + std::to_string(most_entries) + ": the others are left out");
    context.leaving = true;
    return;
  }
  GrubLine line;
  line.entry.is_submenu = is_submenu;
  line.entry.parent = context.parent;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--id" || word == "$menuentry_id_option") {
      if (i + 1 < words.size()) line.entry.id = words[++i];
    } else if (word.starts_with("--id=")) {
      line.entry.id = word.substr(5);
    } else if (word == "--class" || word == "--users" || word == "--hotkey" || word == "--source") {
      ++i;
    } else if (!word.starts_with("--") && line.entry.title.empty()) {
      line.entry.title = word;
    }
  }
  line.body = body;
  context.lines.push_back(std::move(line));
}

/// What is in a submenu is found out at once, so that the menu is one list.
int submenu(GrubContext& context, Words words, const Script& body) {
  add_line(context, words, body, true);
  if (context.leaving) return 1;
  const std::string outside = context.parent;
  // The line's number stands for its place, until places are known.
  context.parent += std::to_string(context.lines.size() - 1) + ">";
  run_script(context, body);
  context.parent = outside;
  return 0;
}

}  // namespace

int run_command(GrubContext& context, const std::vector<std::string>& words, const Script& body) {
  if (words[0] == "menuentry") {
    add_line(context, words, body, false);
    return 0;
  }
  if (words[0] == "submenu") return submenu(context, words, body);
  const auto known = std::find_if(known_commands.begin(), known_commands.end(),
                                  [&](const KnownCommand& command) { return command.name == words[0]; });
  if (known != known_commands.end()) return known->run(context, words);
  // "name=value" is what `set` does.
  if (words.size() == 1 && words[0].find('=') != std::string::npos)
    return set(context, std::vector<std::string>{"set", words[0]});
  return 1;
}

}  // namespace pinfold::boot_menu
