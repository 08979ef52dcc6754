#include "loader/boot_menu/boot_files.hpp"

#include <algorithm>
#include <charconv>

namespace pinfold::boot_menu {
namespace {

constexpr std::size_t longest_path = 4095;

std::optional<unsigned> number_in(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "gpt2", "msdos2", "2": 2.
std::optional<unsigned> partition_in(std::string_view text) {
  for (const std::string_view table : {"gpt", "msdos"})
    if (text.starts_with(table)) text.remove_prefix(table.size());
  return number_in(text);
}

struct DiskAndPartition {
  unsigned disk = 0;
  std::optional<unsigned> partition;
  bool operator==(const DiskAndPartition&) const = default;
};

/// Of "hd0,gpt2" and "xen/xvda,2".
std::optional<DiskAndPartition> parse_disk(std::string_view name) {
  const auto comma = name.find(',');
  const std::string_view disk = name.substr(0, comma);
  DiskAndPartition parsed;
  constexpr std::string_view xen = "xen/xvd";
  if (disk.starts_with("hd")) {
    const auto number = number_in(disk.substr(2));
    if (!number) return std::nullopt;
    parsed.disk = *number;
  } else if (disk.starts_with(xen) && disk.size() == xen.size() + 1 && disk.back() >= 'a' &&
             disk.back() <= 'z') {
    parsed.disk = static_cast<unsigned>(disk.back() - 'a');
  } else {
    return std::nullopt;
  }
  if (comma == std::string_view::npos) return parsed;
  parsed.partition = partition_in(name.substr(comma + 1));
  if (!parsed.partition) return std::nullopt;
  return parsed;
}

/// Its folder, and its name in it.
std::pair<std::string, std::string> split(const std::string& path) {
  const auto slash = path.find_last_of('/');
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

std::string without_slashes_at_end(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

/// Whether the folder's list has the name, as a file or, with '/' behind it, as a folder.
bool has_name(BootFiles& files, const FilePlace& place, bool as_file) {
  const auto [folder, name] = split(without_slashes_at_end(place.path));
  if (name.empty()) return !as_file;
  const auto& names = files.list(place.device, folder);
  const auto has = [&names = names](const std::string& wanted) {
    return std::find(names.begin(), names.end(), wanted) != names.end();
  };
  return has(name + '/') || (as_file && has(name));
}

}  // namespace

bool is_plain_path(std::string_view path) {
  return path.starts_with('/') && path.size() <= longest_path &&
         std::none_of(path.begin(), path.end(), [](char c) {
           return c == '(' || c == ')' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

bool exists(BootFiles& files, const FilePlace& place) {
  return is_plain_path(place.path) && (place.path == "/" || has_name(files, place, true));
}

bool is_folder(BootFiles& files, const FilePlace& place) {
  return is_plain_path(place.path) && has_name(files, place, false);
}

bool may_be_folder(BootFiles& files, const std::string& device, const std::string& folder) {
  return folder.size() <= 1 || has_name(files, {device, folder}, true);
}

const BootDevice* find_device(BootFiles& files, std::string_view name, PartitionCount count) {
  const auto& devices = files.devices();
  const auto found = [&devices](auto&& is_it) -> const BootDevice* {
    const auto it = std::find_if(devices.begin(), devices.end(), is_it);
    return it == devices.end() ? nullptr : &*it;
  };
  auto wanted = parse_disk(name);
  if (!wanted) return found([name](const BootDevice& device) { return device.name == name; });
  if (count == PartitionCount::from_zero && wanted->partition) ++*wanted->partition;
  return found([&wanted](const BootDevice& device) { return parse_disk(device.name) == wanted; });
}

std::optional<FilePlace> find_place(BootFiles& files, std::string_view text, const std::string& root,
                                    const std::string& home, PartitionCount count) {
  std::string device = root;
  if (text.starts_with('(')) {
    const auto end = text.find(')');
    if (end == std::string_view::npos) return std::nullopt;
    device = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
  } else {
    count = PartitionCount::from_one;  // `root` has a device's own name.
  }
  if (!is_plain_path(text)) return std::nullopt;
  const BootDevice* known = find_device(files, device, count);
  if (known != nullptr && known->has_files) return FilePlace{known->name, std::string(text)};
  if (!device.starts_with("hd") || find_device(files, home) == nullptr) return std::nullopt;
  return FilePlace{home, std::string(text)};
}

}  // namespace pinfold::boot_menu
