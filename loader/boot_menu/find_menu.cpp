#include "loader/boot_menu/find_menu.hpp"

#include <algorithm>
#include <array>

#include "loader/boot_menu/extlinux.hpp"
#include "loader/boot_menu/grub_menu.hpp"
#include "loader/boot_menu/loader_entries.hpp"
#include "loader/boot_menu/menu_lst.hpp"

namespace pinfold::boot_menu {
namespace {

using Reader = tl::expected<Menu, std::string> (*)(BootFiles&, const FilePlace&, const std::string&);

struct Candidate {
  std::string_view path;
  Reader read;
};

constexpr auto candidates = std::to_array<Candidate>({
    {"/boot/grub/grub.cfg", read_grub_menu},
    {"/grub/grub.cfg", read_grub_menu},
    {"/boot/grub2/grub.cfg", read_grub_menu},
    {"/grub2/grub.cfg", read_grub_menu},
    {"/boot/extlinux.conf", read_extlinux},
    {"/boot/extlinux/extlinux.conf", read_extlinux},
    {"/extlinux.conf", read_extlinux},
    {"/extlinux/extlinux.conf", read_extlinux},
    {"/boot/isolinux/isolinux.cfg", read_extlinux},
    {"/isolinux/isolinux.cfg", read_extlinux},
    {"/boot/syslinux/syslinux.cfg", read_extlinux},
    {"/syslinux/syslinux.cfg", read_extlinux},
    {"/boot/grub/menu.lst", read_menu_lst},
    {"/boot/grub/grub.conf", read_menu_lst},
    {"/grub/menu.lst", read_menu_lst},
    {"/grub/grub.conf", read_menu_lst},
    {"/loader/entries", read_loader_menu},
    {"/boot/loader/entries", read_loader_menu},
});

/// Where distributions have their root on btrfs; GRUB's file systems know no default subvolume.
std::vector<std::string> subvolumes(BootFiles& files, const std::string& device) {
  std::vector<std::string> prefixes{""};
  for (const char* name : {"/@", "/@rootfs", "/root", "/@boot"})
    if (is_folder(files, {device, name})) prefixes.emplace_back(name);
  // openSUSE: the newest snapshots first.
  constexpr std::size_t most_snapshots = 8;
  const std::string snapshots = "/@/.snapshots/";
  std::vector<unsigned long> numbers;
  if (is_folder(files, {device, snapshots}))
    for (const std::string& name : files.list(device, snapshots))
      if (name.size() < 9 && name.find_first_not_of("0123456789/") == std::string::npos && name != "/")
        numbers.push_back(std::stoul(name));
  std::sort(numbers.rbegin(), numbers.rend());
  numbers.resize(std::min(numbers.size(), most_snapshots));
  for (const unsigned long number : numbers)
    prefixes.push_back(snapshots + std::to_string(number) + "/snapshot");
  return prefixes;
}

/// EFI/debian/grub.cfg: it only finds the real one.
std::vector<std::string> efi_configurations(BootFiles& files, const std::string& device) {
  std::vector<std::string> paths;
  for (const std::string folder : {"/EFI", "/efi", "/boot/efi/EFI"}) {
    if (!is_folder(files, {device, folder})) continue;
    for (const std::string& name : files.list(device, folder + "/"))
      if (name.ends_with('/') && paths.size() < 20) paths.push_back(folder + "/" + name + "grub.cfg");
  }
  return paths;
}

class Search {
 public:
  explicit Search(BootFiles& files) : files_(files) {}

  tl::expected<Menu, std::string> run() {
    for (const BootDevice& device : files_.devices())
      if (device.has_files)
        if (auto menu = on(device.name)) return std::move(*menu);
    return tl::unexpected(why_not_);
  }

 private:
  std::optional<Menu> on(const std::string& device) {
    for (const std::string& prefix : subvolumes(files_, device))
      for (const Candidate& candidate : candidates)
        if (auto menu = attempt({device, prefix + std::string(candidate.path)}, candidate.read, prefix))
          return menu;
    for (const std::string& path : efi_configurations(files_, device))
      if (auto menu = attempt({device, path}, read_grub_menu, "")) return menu;
    return std::nullopt;
  }

  std::optional<Menu> attempt(const FilePlace& place, Reader read, const std::string& prefix) {
    if (!exists(files_, place)) return std::nullopt;
    auto menu = read(files_, place, prefix);
    if (menu) return std::move(*menu);
    if (!has_reason_) why_not_ = "(" + place.device + ")" + place.path + ": " + menu.error();
    has_reason_ = true;
    return std::nullopt;
  }

  BootFiles& files_;
  std::string why_not_ =
      "there is no menu of a boot loader (grub.cfg, menu.lst, loader/entries, extlinux.conf)";
  bool has_reason_ = false;
};

}  // namespace

tl::expected<Menu, std::string> find_menu(BootFiles& files) { return Search(files).run(); }

}  // namespace pinfold::boot_menu
