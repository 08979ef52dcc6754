// Kernel, RAM disk and command line from a guest's own disk, as pygrub finds them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/bootloader/boot_disks.hpp"
#include "cli/config/guest_config.hpp"
#include "loader/boot_menu/boot_menu.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::bootloader {

/// Shows a menu, and returns the entry that the user chose.
using Prompt = std::function<std::size_t(const boot_menu::Menu&)>;

/// What was found; nothing is copied yet.
struct FoundBoot {
  std::optional<boot_menu::Menu> menu;  ///< None: the configuration named the kernel.
  std::size_t entry = 0;                ///< Of the menu.
  boot_menu::Boot boot;                 ///< With the configuration's own words in the command line.
};

/// Files without a name. Their bytes were written by the guest.
struct LoadedBoot {
  vmm::Fd kernel, initrd;                ///< `initrd` may not be open: there is none.
  std::string kernel_name, initrd_name;  ///< For messages: "(hd0,gpt2)/boot/vmlinuz".
  std::string command_line;
  std::vector<std::string> notices;
};

/// Looks on the guest's disks. It forks: call it before the process has threads. An error is one line.
[[nodiscard]] tl::expected<FoundBoot, std::string> find_boot(const GuestConfig& guest,
                                                             const BootImages& images);

/// Looks, asks if the configuration says so, and copies.
[[nodiscard]] tl::expected<LoadedBoot, std::string> load_boot(const GuestConfig& guest,
                                                              const BootImages& images, const Prompt& prompt);

}  // namespace pinfold::cli::bootloader
