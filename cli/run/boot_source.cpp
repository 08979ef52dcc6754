#include "cli/run/boot_source.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/bootloader/menu_prompt.hpp"
#include "cli/images/image_servers.hpp"

namespace pinfold::cli {
namespace {

std::string path_of(const vmm::Fd& file) { return fmt::format("/proc/self/fd/{}", file.get()); }

void replace(std::string& text, const std::string& what, const std::string& by) {
  if (const auto at = text.find(what); at != std::string::npos) text.replace(at, what.size(), by);
}

}  // namespace

tl::expected<BootSource, std::string> BootSource::find(const RunOptions& options, const DiskImages& images) {
  BootSource source(options);
  GuestConfig& guest = source.options_.guest;
  if (guest.bootloader.empty()) return source;
  bootloader::Prompt prompt;
  if (options.console.place == ConsolePlace::stdio)
    prompt = [](const boot_menu::Menu& menu) {
      return bootloader::prompt_for_entry(menu, STDIN_FILENO, STDOUT_FILENO);
    };
  auto loaded = bootloader::load_boot(guest, images, prompt);
  if (!loaded) return tl::unexpected(loaded.error());
  for (const std::string& notice : loaded->notices) fmt::print(stderr, "pinfold: {}\n", notice);
  guest.kernel = path_of(loaded->kernel);
  guest.initrd = loaded->initrd.open() ? path_of(loaded->initrd) : "";
  guest.command_line = loaded->command_line;
  if (const auto error = error_in(guest))
    return tl::unexpected(fmt::format("the command line of {}: {}", loaded->kernel_name, error->message));
  source.loaded_ = std::move(*loaded);
  return source;
}

tl::expected<bootloader::FoundBoot, std::string> look_for_boot(const GuestConfig& guest) {
  RunOptions reading;
  reading.guest = guest;
  reading.guest.vcpus = 1;
  reading.guest.disks.resize(std::min(guest.disks.size(), bootloader::most_boot_disks));
  for (DiskConfig& disk : reading.guest.disks) disk.read_only = true;
  auto servers = ImageServers::open(reading);
  if (!servers) return tl::unexpected(servers.error());
  const auto images = open_served_images(reading.guest, servers->take_sockets());
  if (!images) return tl::unexpected(images.error());
  return bootloader::find_boot(reading.guest, *images);
}

void BootSource::forget_files() {
  loaded_.kernel = vmm::Fd();
  loaded_.initrd = vmm::Fd();
}

std::string BootSource::with_names(std::string message) const {
  if (loaded_.kernel_name.empty()) return message;
  replace(message, options_.guest.kernel.string(), loaded_.kernel_name);
  if (!options_.guest.initrd.empty()) replace(message, options_.guest.initrd.string(), loaded_.initrd_name);
  return message;
}

}  // namespace pinfold::cli
