#include "cli/bootloader/guest_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "loader/boot_menu/boot_menu.hpp"
#include "loader/load_error.hpp"

namespace pinfold::cli::bootloader {
namespace {

using boot_menu::BootDevice;

constexpr std::uint64_t most_list_bytes = 1 << 20;
constexpr unsigned seconds_a_command = 10, seconds_a_file = 60;
constexpr std::chrono::seconds seconds_in_all{120};
constexpr std::size_t most_devices = 256, most_folders = 10'000;

/// hd0 here, loop0 there.
std::string for_fstest(const std::string& device) {
  return device.starts_with("hd") ? "loop" + device.substr(2) : device;
}

/// "Partition loop0,gpt2: Filesystem type ext* - Label `x' - …, UUID 0b7c - Partition start at 1024KiB - …"
std::string behind(std::string_view line, std::string_view start, std::string_view end) {
  const auto at = line.find(start);
  if (at == std::string_view::npos) return {};
  line.remove_prefix(at + start.size());
  return std::string(line.substr(0, line.find(end)));
}

bool is_of_guest(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("+_.,/-").find(c) != std::string_view::npos;
  };
  const bool is_kind = name.starts_with("loop") || name.starts_with("lvm/") || name.starts_with("md/");
  return is_kind && name.size() < 200 && std::all_of(name.begin(), name.end(), fits);
}

/// Its disk and partition; logical volumes come last, in the program's order.
std::tuple<unsigned long, unsigned long> rank(const BootDevice& device) {
  const auto number_at = [&device](std::size_t at) {
    return at < device.name.size() ? std::strtoul(device.name.c_str() + at, nullptr, 10) : 0;
  };
  if (!device.name.starts_with("hd")) return {~0UL, 0};
  const auto comma = device.name.find(',');
  if (comma == std::string::npos) return {number_at(2), 0};
  return {number_at(2), number_at(device.name.find_first_of("0123456789", comma))};
}

}  // namespace

std::vector<BootDevice> parse_devices(std::string_view output) {
  std::vector<BootDevice> devices;
  while (!output.empty() && devices.size() < most_devices) {
    const auto end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    while (line.starts_with('\t')) line.remove_prefix(1);
    const std::string_view kind = line.starts_with("Device ") ? "Device " : "Partition ";
    if (!line.starts_with(kind)) continue;
    line.remove_prefix(kind.size());
    const auto colon = line.find(": ");
    if (colon == std::string_view::npos || !is_of_guest(line.substr(0, colon))) continue;
    BootDevice device;
    device.name = line.substr(0, colon);
    if (device.name.starts_with("loop")) device.name = "hd" + device.name.substr(4);
    line.remove_prefix(colon + 2);
    device.has_files = line.starts_with("Filesystem type ");
    device.label = behind(line, "Label `", "'");
    device.uuid = behind(line, "UUID ", " ");
    const std::string start = behind(line, "Partition start at ", "KiB");
    device.start_bytes = std::strtoull(start.c_str(), nullptr, 10) * 1024 + (start.ends_with(".5") ? 512 : 0);
    devices.push_back(std::move(device));
  }
  std::stable_sort(devices.begin(), devices.end(),
                   [](const BootDevice& a, const BootDevice& b) { return rank(a) < rank(b); });
  return devices;
}

std::vector<std::string> parse_folder(std::string_view output) {
  std::vector<std::string> names;
  while (!output.empty()) {
    const auto end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    // "SIZE TIME NAME", or "DIR TIME NAME/"; the name may have blanks.
    for (int column = 0; column < 2; ++column) {
      line.remove_prefix(std::min(line.find(' '), line.size()));
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    }
    if (!line.empty()) names.emplace_back(line);
  }
  return names;
}

GuestFiles::GuestFiles(Fstest fstest)
    : fstest_(std::move(fstest)), deadline_(std::chrono::steady_clock::now() + seconds_in_all) {}

tl::expected<FstestOutput, FstestError> GuestFiles::run(const std::vector<std::string>& words,
                                                        std::uint64_t most_bytes, unsigned seconds) {
  if (std::chrono::steady_clock::now() > deadline_)
    keep(FstestTrouble::host,
         fmt::format("looking for the kernel on the guest's disks took longer than {} seconds",
                     seconds_in_all.count()));
  if (trouble_) return tl::unexpected(*trouble_);
  auto output = fstest_.run(words, {most_bytes, seconds});
  if (!output && output.error().kind == FstestTrouble::host)
    keep(FstestTrouble::host, output.error().message);
  return output;
}

void GuestFiles::keep(FstestTrouble kind, const std::string& message) {
  if (!trouble_) trouble_ = FstestError{kind, loader::printable(message, 500)};
}

std::optional<std::string> GuestFiles::look(const std::vector<std::string>& words, std::uint64_t most_bytes,
                                            const std::string& what) {
  const auto output = run(words, most_bytes, seconds_a_command);
  if (output) return text_of(output->file, most_bytes);
  if (output.error().kind != FstestTrouble::absent)
    keep(FstestTrouble::disks, fmt::format("{} can't be read: {}", what, output.error().message));
  return std::nullopt;
}

const std::vector<BootDevice>& GuestFiles::devices() {
  if (looked_) return devices_;
  looked_ = true;
  if (const auto output = look({"ls", "--", "-l"}, most_list_bytes, "the list of its partitions"))
    devices_ = parse_devices(*output);
  return devices_;
}

bool GuestFiles::has_files(const std::string& device) {
  const auto& all = devices();
  return std::any_of(all.begin(), all.end(),
                     [&](const BootDevice& known) { return known.name == device && known.has_files; });
}

std::optional<std::string> GuestFiles::read(const std::string& device, const std::string& path) {
  if (!has_files(device) || !boot_menu::is_plain_path(path)) return std::nullopt;
  return look({"cat", fmt::format("({}){}", for_fstest(device), path)}, boot_menu::longest_menu_file,
              fmt::format("({}){}", device, path));
}

std::vector<std::string> GuestFiles::list_anew(const std::string& device, const std::string& folder) {
  if (!boot_menu::may_be_folder(*this, device, folder)) return {};
  const std::string name = fmt::format("({}){}", device, folder);
  const auto output =
      look({"ls", "--", "-l", fmt::format("({}){}", for_fstest(device), folder)}, most_list_bytes, name);
  if (!output) return {};
  // What may be a folder may also be a file, or a link to nothing: then the output is empty.
  const bool is_whole = *output == "\n" || output->ends_with("\n\n");
  if (!is_whole && (!output->empty() || boot_menu::is_folder(*this, {device, folder})))
    keep(FstestTrouble::disks, name + " can't be read: the file system is damaged, or its disk fails");
  return parse_folder(*output);
}

const std::vector<std::string>& GuestFiles::list(const std::string& device, const std::string& given) {
  static const std::vector<std::string> none;
  const std::string folder = given.ends_with('/') ? given : given + "/";
  const auto key = std::make_pair(device, folder);
  if (const auto known = folders_.find(key); known != folders_.end()) return known->second;
  if (!has_files(device) || !boot_menu::is_plain_path(folder) || folders_.size() >= most_folders) return none;
  return folders_.emplace(key, list_anew(device, folder)).first->second;
}

tl::expected<FstestOutput, std::string> GuestFiles::copy(const boot_menu::FilePlace& place,
                                                         std::uint64_t most_bytes) {
  const auto error = [&place](const std::string& why) {
    return tl::unexpected(loader::printable(fmt::format("({}){}: {}", place.device, place.path, why), 500));
  };
  if (!has_files(place.device) || !boot_menu::is_plain_path(place.path))
    return error("no file of the guest's");
  auto output =
      run({"cat", fmt::format("({}){}", for_fstest(place.device), place.path)}, most_bytes, seconds_a_file);
  if (!output) return error(output.error().message);
  if (output->size == 0) return error("the file is empty");
  return std::move(*output);
}

}  // namespace pinfold::cli::bootloader
