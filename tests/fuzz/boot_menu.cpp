// Menus of boot loaders, from files that a guest wrote. The first byte chooses the format, the rest is the
// text; "\0NAME\0" in it begins another file of the disk, with that name.
#include <map>
#include <string>
#include <string_view>

#include "input.hpp"
#include "loader/boot_menu/environment_block.hpp"
#include "loader/boot_menu/extlinux.hpp"
#include "loader/boot_menu/find_menu.hpp"
#include "loader/boot_menu/grub_menu.hpp"
#include "loader/boot_menu/loader_entries.hpp"
#include "loader/boot_menu/menu_lst.hpp"

namespace {

using namespace pinfold::boot_menu;
using pinfold::fuzz::promise;

/// Two partitions; every path of the second one exists, and has the text of the last file.
class Files final : public BootFiles {
 public:
  Files(const std::string& path, std::string_view text) {
    std::string name = path;
    for (;;) {
      const auto start = text.find('\0');
      texts_[name] = text.substr(0, start);
      if (start == std::string_view::npos) return;
      text.remove_prefix(start + 1);
      const auto end = text.find('\0');
      if (end == std::string_view::npos) return;
      name = text.substr(0, end);
      text.remove_prefix(end + 1);
    }
  }

  const std::vector<BootDevice>& devices() override { return devices_; }
  std::optional<std::string> read(const std::string& device, const std::string& path) override {
    check(device, path);
    promise(++reads_ < 2000, "the number of files that are read is bounded");
    const auto found = texts_.find(path);
    if (found == texts_.end()) return std::nullopt;
    return found->second;
  }
  const std::vector<std::string>& list(const std::string& device, const std::string& folder) override {
    check(device, folder);
    names_.clear();
    for (const auto& [path, text] : texts_)
      if (path.starts_with(folder)) names_.push_back(path.substr(folder.size()));
    names_.emplace_back("vmlinuz");
    return names_;
  }

 private:
  static void check(const std::string& device, const std::string& path) {
    promise(device == "hd0,msdos1" || device == "lvm/vg-root", "only devices of the guest's are looked at");
    promise(is_plain_path(path), "only plain paths are looked at");
  }

  std::vector<BootDevice> devices_{{"hd0,msdos1", "AAAA", "boot", 1 << 20, true},
                                   {"lvm/vg-root", "", "", 0, true}};
  std::map<std::string, std::string> texts_;
  std::vector<std::string> names_;
  int reads_ = 0;
};

void check(Files& files, const tl::expected<Menu, std::string>& menu) {
  if (!menu) return promise(!menu.error().empty(), "an error has a reason");
  promise(!menu->entries.empty() && menu->entries.size() <= most_entries,
          "a menu has entries, and not too many");
  promise(menu->chosen < menu->entries.size(), "the default is one of them");
  for (std::size_t i = 0; i < menu->entries.size() && i < 20; ++i) {
    const auto boot = menu->load(i);
    if (!boot) continue;
    promise(boot->initrds.size() <= most_initrds, "RAM disks are not too many");
    promise(exists(files, boot->kernel), "the kernel is there");
  }
  (void)find_entry(*menu, menu->entries[0].title);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > (1 << 16)) return 0;
  const std::string text(data + 1, data + size);
  const auto read = [&](auto&& reader, const std::string& path) {
    Files files(path, text);
    check(files, reader(files, FilePlace{"hd0,msdos1", path}, "/@"));
  };
  switch (data[0]) {
    case 'g': read(read_grub_menu, "/boot/grub/grub.cfg"); break;
    case 'm': read(read_menu_lst, "/boot/grub/menu.lst"); break;
    case 'x': read(read_extlinux, "/boot/extlinux.conf"); break;
    case 'b': {
      Files files("/loader/entries/a.conf", text);
      check(files, read_loader_menu(files, {"hd0,msdos1", "/loader/entries"}, ""));
      break;
    }
    case 'f': {
      Files files("/boot/grub2/grub.cfg", text);
      check(files, find_menu(files));
      break;
    }
    case 'e': (void)parse_environment_block(text); break;
    case 'v': {
      const auto middle = text.size() / 2;
      const std::string_view a = std::string_view(text).substr(0, middle),
                             b = std::string_view(text).substr(middle);
      const int forth = compare_versions(a, b), back = compare_versions(b, a);
      promise((forth < 0) == (back > 0) && (forth > 0) == (back < 0), "versions have an order");
      break;
    }
    default: break;
  }
  return 0;
}
