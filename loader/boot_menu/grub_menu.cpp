#include "loader/boot_menu/grub_menu.hpp"

#include <map>
#include <memory>

#include "loader/boot_menu/grub_run.hpp"
#include "loader/boot_menu/text_lines.hpp"

namespace pinfold::boot_menu {
namespace {

/// What GRUB sets before it reads its configuration, on Xen.
void set_variables(GrubContext& context, const FilePlace& place) {
  const std::string folder = "(" + place.device + ")" + place.path.substr(0, place.path.find_last_of('/'));
  auto& variables = context.variables;
  variables["root"] = place.device;
  variables["prefix"] = variables["config_directory"] = folder;
  variables["config_file"] = "(" + place.device + ")" + place.path;
  variables["grub_platform"] = "xen";
  variables["grub_cpu"] = "x86_64";
  for (const char* feature :
       {"feature_menuentry_id", "feature_menuentry_options", "feature_timeout_style",
        "feature_platform_search_hint", "feature_default_font_path", "feature_all_video_module",
        "feature_200_final", "feature_nativedisk_cmd", "feature_chainloader_bpb", "feature_ntldr"})
    variables[feature] = "y";
}

/// Places count lines of the same menu. Until now a submenu was named by the number of its line.
void number_lines(std::vector<GrubLine>& lines) {
  std::map<std::string, std::size_t> next;             // by the submenu's name
  std::map<std::string, std::string> names{{"", ""}};  // of submenus, by numbers: by places
  for (std::size_t i = 0; i < lines.size(); ++i) {
    MenuEntry& entry = lines[i].entry;
    entry.place = next[entry.parent]++;
    const std::string by_places = names[entry.parent];
    if (entry.is_submenu)
      names[entry.parent + std::to_string(i) + ">"] = by_places + std::to_string(entry.place) + ">";
    entry.parent = by_places;
  }
}

tl::expected<Boot, std::string> load_line(GrubContext context, std::size_t index) {
  const GrubLine& line = context.lines.at(index);
  if (line.entry.is_submenu) return tl::unexpected(std::string("it is a submenu"));
  if (line.known) {
    context.boot = Boot{{}, {}, line.known->arguments};
    const auto find = [&context](const FilePlace& wanted) {
      auto place = context.find("(" + wanted.device + ")" + wanted.path);
      if (!place) context.fail("there is no file " + wanted.path);
      return place.value_or(FilePlace{});
    };
    context.boot->kernel = find(line.known->kernel);
    for (const FilePlace& initrd : line.known->initrds) context.boot->initrds.push_back(find(initrd));
  } else {
    run_script(context, line.body);
  }
  if (!context.error.empty()) return tl::unexpected(context.error);
  if (!context.boot) return tl::unexpected(std::string("it loads no Linux kernel"));
  return std::move(*context.boot);
}

}  // namespace

tl::expected<Menu, std::string> read_grub_menu(BootFiles& files, const FilePlace& place,
                                               const std::string& prefix) {
  auto context = std::make_shared<GrubContext>(GrubContext{files, place.device, prefix});
  set_variables(*context, place);
  const auto text = context->read(place);
  if (!text) return tl::unexpected(std::string("it can't be read, or is longer than 1 MiB"));
  const auto script = parse_grub_script(*text);
  if (!script) return tl::unexpected(script.error());
  run_script(*context, *script);
  // A script that ends too early has made a part of the menu; what it loaded itself is its only entry.
  if (context->lines.empty() && context->boot) {
    GrubLine line;
    line.entry.title = "the configuration itself";
    line.body = *script;
    context->lines.push_back(std::move(line));
  }
  if (context->lines.empty())
    return tl::unexpected(context->error.empty() ? std::string("it has no entries") : context->error);
  number_lines(context->lines);
  Menu menu;
  menu.source = place;
  for (const GrubLine& line : context->lines) menu.entries.push_back(line.entry);
  menu.timeout_seconds = small_number(context->value("timeout")).value_or(-1);
  if (!context->error.empty()) menu.notices.push_back(context->error);
  for (const std::string& notice : context->notices) menu.notices.push_back(notice);
  const std::string wanted = context->value("default");
  auto chosen = find_entry(menu, wanted.empty() ? "0" : wanted);
  if (!chosen) chosen = find_entry(menu, "0");
  if (!chosen) return tl::unexpected(std::string("it has no entries but submenus"));
  menu.chosen = *chosen;
  // For the entry that is chosen everything is as the script left it.
  context->budget = {};
  context->leaving = false;
  context->error.clear();
  context->boot.reset();
  context->with_hypervisor = false;
  menu.load = [context](std::size_t entry) { return load_line(*context, entry); };
  return menu;
}

}  // namespace pinfold::boot_menu
