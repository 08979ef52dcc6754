#include "loader/boot_menu/loader_entries.hpp"

#include <algorithm>
#include <memory>
#include <tuple>

#include "loader/boot_menu/text_lines.hpp"

namespace pinfold::boot_menu {
namespace {

constexpr std::string_view suffix = ".conf";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// The longest start of `text` whose characters are of a kind; it is taken away.
template <class Kind>
std::string_view take_while(std::string_view& text, Kind&& kind) {
  std::size_t length = 0;
  while (length < text.size() && kind(text[length])) ++length;
  const auto start = text.substr(0, length);
  text.remove_prefix(length);
  return start;
}

int compare_numbers(std::string_view a, std::string_view b) {
  const auto zero = [](char c) { return c == '0'; };
  take_while(a, zero);
  take_while(b, zero);
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a.compare(b);
}

/// "fedora-6.1+3-1" was to be tried three times: not a part of its name.
std::string id_of(std::string_view file_name) {
  std::string id(file_name.substr(0, file_name.size() - std::min(file_name.size(), suffix.size())));
  const auto plus = id.find_last_of('+');
  if (plus != std::string::npos && plus + 1 < id.size() &&
      std::all_of(id.begin() + static_cast<std::ptrdiff_t>(plus) + 1, id.end(),
                  [](char c) { return is_digit(c) || c == '-'; }))
    id.erase(plus);
  return id;
}

void sort(std::vector<LoaderEntry>& entries, EntryOrder order) {
  const auto newer_id = [](const LoaderEntry& a, const LoaderEntry& b) {
    return compare_versions(a.id, b.id) > 0;
  };
  if (order == EntryOrder::by_id) {
    std::stable_sort(entries.begin(), entries.end(), newer_id);
    return;
  }
  std::stable_sort(entries.begin(), entries.end(), [&](const LoaderEntry& a, const LoaderEntry& b) {
    if (a.sort_key.empty() != b.sort_key.empty()) return !a.sort_key.empty();
    if (a.sort_key.empty()) return newer_id(a, b);
    const auto key = std::tie(a.sort_key, a.machine_id), other = std::tie(b.sort_key, b.machine_id);
    if (key != other) return key < other;
    const int version = compare_versions(a.version, b.version);
    return version != 0 ? version > 0 : newer_id(a, b);
  });
}

/// With '*' for anything, as loader.conf may have it: one at the end.
bool matches(std::string_view pattern, std::string_view id) {
  if (pattern.ends_with(suffix)) pattern.remove_suffix(suffix.size());
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == id;
  return id.starts_with(pattern.substr(0, star));
}

void read_loader_conf(BootFiles& files, const FilePlace& folder, const std::vector<LoaderEntry>& entries,
                      Menu& menu) {
  const std::string path = folder.path.substr(0, folder.path.find_last_of('/')) + "/loader.conf";
  if (!exists(files, {folder.device, path})) return;
  const std::string text = files.read(folder.device, path).value_or("");
  for (const auto line : lines_of(text)) {
    const auto [key, value] = key_and_value(line);
    if (key == "timeout") menu.timeout_seconds = small_number(value).value_or(menu.timeout_seconds);
    if (key != "default") continue;
    const auto found =
        std::find_if(entries.begin(), entries.end(),
                     [&pattern = value](const LoaderEntry& entry) { return matches(pattern, entry.id); });
    if (found != entries.end()) menu.chosen = static_cast<std::size_t>(found - entries.begin());
  }
}

}  // namespace

int compare_versions(std::string_view a, std::string_view b) {
  const auto separates = [](char c) { return !is_digit(c) && !is_letter(c) && c != '~' && c != '^'; };
  for (;;) {
    take_while(a, separates);
    take_while(b, separates);
    // '~' is older than the end, '^' newer than the end but older than anything else.
    for (const char mark : {'~', '^'}) {
      const bool in_a = a.starts_with(mark), in_b = b.starts_with(mark);
      if (in_a != in_b) {
        const bool a_first = mark == '~' ? in_a : (in_a ? !b.empty() : a.empty());
        return a_first ? -1 : 1;
      }
      if (in_a) a.remove_prefix(1), b.remove_prefix(1);
    }
    if (a.empty() || b.empty()) return a.empty() ? (b.empty() ? 0 : -1) : 1;
    const bool number = is_digit(a[0]);
    if (number != is_digit(b[0])) return number ? 1 : -1;
    if (a[0] == '~' || a[0] == '^' || b[0] == '~' || b[0] == '^') continue;
    const auto part_a = number ? take_while(a, is_digit) : take_while(a, is_letter),
               part_b = number ? take_while(b, is_digit) : take_while(b, is_letter);
    const int compared = number ? compare_numbers(part_a, part_b) : part_a.compare(part_b);
    if (compared != 0) return compared;
  }
}

LoaderEntry parse_loader_entry(std::string_view file_name, std::string_view text) {
  LoaderEntry entry;
  entry.id = id_of(file_name);
  for (const auto line : lines_of(text)) {
    const auto [key, value] = key_and_value(line);
    if (key == "title") entry.title = value;
    if (key == "version") entry.version = value;
    if (key == "machine-id") entry.machine_id = value;
    if (key == "sort-key") entry.sort_key = value;
    if (key == "linux") entry.kernel = value;
    if (key == "options") entry.options += (entry.options.empty() ? "" : " ") + std::string(value);
    if (key != "initrd") continue;
    for (const auto word : words_of(value))
      if (entry.initrds.size() < most_initrds) entry.initrds.emplace_back(word);
  }
  if (entry.title.empty()) entry.title = entry.id;
  return entry;
}

std::vector<LoaderEntry> read_loader_entries(BootFiles& files, const FilePlace& folder, EntryOrder order) {
  // Each is a file to read: fewer than lines of a menu.
  constexpr std::size_t most_files = 500;
  std::vector<LoaderEntry> entries;
  const std::vector<std::string> names = files.list(folder.device, folder.path + "/");
  for (const std::string& name : names) {
    if (!name.ends_with(suffix) || name.size() == suffix.size() || !is_plain_path('/' + name)) continue;
    if (entries.size() == most_files) break;
    const auto text = files.read(folder.device, folder.path + "/" + name);
    if (!text) continue;
    auto entry = parse_loader_entry(name, *text);
    if (!entry.kernel.empty()) entries.push_back(std::move(entry));
  }
  sort(entries, order);
  return entries;
}

tl::expected<Menu, std::string> read_loader_menu(BootFiles& files, const FilePlace& folder,
                                                 const std::string& prefix) {
  const auto entries = std::make_shared<const std::vector<LoaderEntry>>(
      read_loader_entries(files, folder, EntryOrder::by_specification));
  if (entries->empty()) return tl::unexpected(std::string("no entry is of a Linux kernel"));
  Menu menu;
  menu.source = folder;
  for (std::size_t i = 0; i < entries->size(); ++i)
    menu.entries.push_back({(*entries)[i].title, (*entries)[i].id, "", i, false});
  read_loader_conf(files, folder, *entries, menu);
  menu.load = [&files, entries, device = folder.device,
               prefix](std::size_t i) -> tl::expected<Boot, std::string> {
    const LoaderEntry& entry = entries->at(i);
    const auto find = [&](const std::string& path) -> tl::expected<FilePlace, std::string> {
      for (const std::string& start : {std::string(), prefix})
        if (exists(files, {device, start + path})) return FilePlace{device, start + path};
      return tl::unexpected("there is no file " + path);
    };
    Boot boot;
    boot.arguments = entry.options;
    auto kernel = find(entry.kernel);
    if (!kernel) return tl::unexpected(kernel.error());
    boot.kernel = *kernel;
    for (const std::string& initrd : entry.initrds) {
      auto place = find(initrd);
      if (!place) return tl::unexpected(place.error());
      boot.initrds.push_back(*place);
    }
    return boot;
  };
  return menu;
}

}  // namespace pinfold::boot_menu
