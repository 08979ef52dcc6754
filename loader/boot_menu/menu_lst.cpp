#include "loader/boot_menu/menu_lst.hpp"

#include <memory>

#include "loader/boot_menu/text_lines.hpp"

namespace pinfold::boot_menu {
namespace {

struct Lines {
  std::string title;
  std::vector<std::string> lines;
};

/// What one entry loads.
class EntryReader {
 public:
  EntryReader(BootFiles& files, std::string home, std::string prefix)
      : files_(files), home_(std::move(home)), prefix_(std::move(prefix)), root_(home_) {}

  tl::expected<Boot, std::string> read(const Lines& entry) {
    for (const std::string& line : entry.lines) {
      const auto [command, text] = key_and_value(line);
      if (command == "root" || command == "rootnoverify") set_root(text);
      if (command == "uuid") set_root_by_uuid(text);
      if (command == "kernel") kernel(text);
      if (command == "initrd") initrd(text);
      if (command == "module" || command == "modulenounzip") module(text);
      if (command == "chainloader") fail("it starts another boot loader");
      if (command == "configfile") fail("it shows another menu");
    }
    if (!error_.empty()) return tl::unexpected(error_);
    if (boot_.kernel.path.empty()) return tl::unexpected(std::string("it loads no kernel"));
    return boot_;
  }

 private:
  void fail(const std::string& text) {
    if (error_.empty()) error_ = text;
  }

  void set_root(std::string_view text) {
    if (const auto place =
            find_place(files_, std::string(text) + "/", root_, home_, PartitionCount::from_zero))
      root_ = place->device;
  }
  void set_root_by_uuid(std::string_view uuid) {
    for (const BootDevice& device : files_.devices())
      if (same_word(device.uuid, uuid)) root_ = device.name;
  }

  FilePlace find(std::string_view path) {
    auto place = find_place(files_, path, root_, home_, PartitionCount::from_zero);
    if (place && !exists(files_, *place)) place->path = prefix_ + place->path;
    if (place && exists(files_, *place)) return *place;
    fail("there is no file " + std::string(path));
    return {};
  }

  /// "PATH ARGUMENTS", options ("--type=…") before the path.
  void kernel(std::string_view text) {
    std::string_view path;
    do {
      text = trimmed(text);
      path = text.substr(0, text.find_first_of(" \t"));
      text.remove_prefix(path.size());
    } while (path.starts_with("--"));
    // Of an entry for a hypervisor (xen.gz) the first module is the kernel.
    const auto name = path.substr(path.find_last_of('/') + 1);
    if (name.starts_with("xen") && name.find("gz") != std::string_view::npos) {
      with_hypervisor_ = true;
      return;
    }
    boot_.kernel = find(path);
    boot_.arguments = trimmed(text);
  }
  void initrd(std::string_view text) {
    for (const auto word : words_of(text))
      if (boot_.initrds.size() < most_initrds) boot_.initrds.push_back(find(word));
  }
  void module(std::string_view text) {
    if (with_hypervisor_ && boot_.kernel.path.empty()) {
      kernel(text);
    } else if (with_hypervisor_) {
      initrd(text);
    }
  }

  BootFiles& files_;
  std::string home_, prefix_, root_;
  Boot boot_;
  bool with_hypervisor_ = false;
  std::string error_;
};

/// `default saved`: the number is the first line of the file "default" beside the menu.
std::size_t saved_default(BootFiles& files, const FilePlace& place) {
  const FilePlace saved{place.device, place.path.substr(0, place.path.find_last_of('/')) + "/default"};
  if (!exists(files, saved)) return 0;
  const std::string text = files.read(saved.device, saved.path).value_or("");
  const auto number = small_number(trimmed(std::string_view(text).substr(0, text.find('\n'))));
  return static_cast<std::size_t>(number.value_or(0));
}

}  // namespace

tl::expected<Menu, std::string> read_menu_lst(BootFiles& files, const FilePlace& place,
                                              const std::string& prefix) {
  const auto text = files.read(place.device, place.path);
  if (!text) return tl::unexpected(std::string("it can't be read, or is longer than 1 MiB"));
  const auto entries = std::make_shared<std::vector<Lines>>();
  Menu menu;
  menu.source = place;
  for (const auto line : lines_of(*text)) {
    const auto [key, value] = key_and_value(line);
    if (key == "title") {
      if (entries->size() == most_entries) {
        menu.notices.push_back("more entries than " + std::to_string(most_entries) +
                               ": the others are left out");
        break;
      }
      entries->push_back({std::string(value), {}});
    } else if (!entries->empty()) {
      entries->back().lines.emplace_back(line);
    } else if (key == "default") {
      menu.chosen = value == "saved" ? saved_default(files, place)
                                     : static_cast<std::size_t>(small_number(value).value_or(0));
    } else if (key == "timeout") {
      menu.timeout_seconds = small_number(value).value_or(-1);
    }
  }
  if (entries->empty()) return tl::unexpected(std::string("it has no entries"));
  for (std::size_t i = 0; i < entries->size(); ++i)
    menu.entries.push_back({(*entries)[i].title, "", "", i, false});
  if (menu.chosen >= entries->size()) menu.chosen = 0;
  menu.load = [&files, entries, home = place.device, prefix](std::size_t i) {
    return EntryReader(files, home, prefix).read(entries->at(i));
  };
  return menu;
}

}  // namespace pinfold::boot_menu
