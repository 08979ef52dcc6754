#include "cli/bootloader/bootloader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "cli/bootloader/guest_files.hpp"
#include "cli/bootloader/menu_child.hpp"
#include "cli/bootloader/pygrub_arguments.hpp"
#include "cli/images/remote_image.hpp"
#include "loader/load_error.hpp"

namespace pinfold::cli::bootloader {
namespace {

using boot_menu::Boot;
using boot_menu::FilePlace;
using boot_menu::Menu;

constexpr std::size_t most_boot_disks = 8;
constexpr std::uint64_t most_file_bytes = std::uint64_t{1} << 30;

/// The images that can be looked at, for reading. Disk 0 has to be one of them.
tl::expected<std::vector<vmm::Fd>, std::string> open_disks(const GuestConfig& guest) {
  std::vector<vmm::Fd> disks;
  for (const DiskConfig& disk : guest.disks) {
    if (disks.size() == most_boot_disks) break;
    const bool usable = disk.format == DiskFormat::raw && !disk.target.empty() &&
                        !images::remote_image(disk.target.string()) && disk.script.empty() &&
                        disk.backend.empty();
    if (!usable && disks.empty())
      return tl::unexpected(fmt::format(
          "bootloader: the first disk ({}) has no raw image, and only in such a kernel can be looked for",
          disk.vdev));
    if (!usable) break;
    vmm::Fd file(::open(disk.target.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.open())
      return tl::unexpected(fmt::format("disk {}: {}", disk.target.string(), std::strerror(errno)));
    disks.push_back(std::move(file));
  }
  if (disks.empty())
    return tl::unexpected(std::string("bootloader: the guest has no disk to find a kernel on"));
  return disks;
}

/// Words of the configuration come last: the kernel takes the last one of two.
void append(std::string& arguments, const std::string& more) {
  if (!arguments.empty() && !more.empty()) arguments += ' ';
  arguments += more;
}

/// A boot loader at work.
class Bootloader {
 public:
  explicit Bootloader(const GuestConfig& guest)
      : guest_(guest), arguments_(parse_pygrub_arguments(guest.bootloader_args)) {}

  tl::expected<void, std::string> open() {
    if (!arguments_.errors.empty()) return tl::unexpected("bootloader_args: " + arguments_.errors.front());
    auto disks = open_disks(guest_);
    if (!disks) return tl::unexpected(disks.error());
    auto fstest = Fstest::find(std::move(*disks));
    if (!fstest) return tl::unexpected(fstest.error().message);
    files_ = std::make_unique<GuestFiles>(std::move(*fstest));
    (void)files_->devices();
    if (!files_->trouble().empty()) return tl::unexpected(files_->trouble());
    return {};
  }

  tl::expected<FoundBoot, std::string> find(const Prompt& prompt) {
    auto found = named_kernel().empty() ? from_menu(prompt) : from_names();
    if (!files_->trouble().empty()) return tl::unexpected(files_->trouble());
    if (!found) return tl::unexpected(disks_text() + loader::printable(found.error(), 500));
    append(found->boot.arguments, arguments_.arguments);
    append(found->boot.arguments, guest_.command_line);
    return found;
  }

  tl::expected<LoadedBoot, std::string> load(const FoundBoot& found);

 private:
  [[nodiscard]] std::string named_kernel() const {
    return arguments_.kernel.empty() ? guest_.kernel.string() : arguments_.kernel;
  }
  [[nodiscard]] std::string disks_text() const {
    return fmt::format("no kernel was found on {}: ", guest_.disks.front().target.string());
  }

  /// --offset: the partition that begins there stands for the whole.
  [[nodiscard]] bool is_wanted(const boot_menu::BootDevice& device) const {
    return device.has_files && (!arguments_.offset_bytes || device.start_bytes == *arguments_.offset_bytes);
  }

  tl::expected<FoundBoot, std::string> from_names() {
    FoundBoot found;
    const std::string ramdisk = arguments_.ramdisk.empty() ? guest_.initrd.string() : arguments_.ramdisk;
    for (const auto& device : files_->devices()) {
      if (!is_wanted(device) || !boot_menu::exists(*files_, {device.name, named_kernel()})) continue;
      found.boot.kernel = {device.name, named_kernel()};
      if (!ramdisk.empty()) found.boot.initrds.push_back({device.name, ramdisk});
      return found;
    }
    return tl::unexpected("none of its file systems has " + named_kernel());
  }

  tl::expected<FoundBoot, std::string> from_menu(const Prompt& prompt) {
    FetchedFiles fetched;
    auto answer = ask_menu_child(*files_, fetched, {arguments_.entry, std::nullopt});
    if (answer && arguments_.interactive && prompt)
      answer = ask_menu_child(*files_, fetched, {"", prompt(answer->menu)});
    if (!answer) return tl::unexpected(answer.error());
    if (!answer->boot)
      return tl::unexpected(fmt::format("entry \"{}\" of {}: {}", answer->menu.entries[answer->entry].title,
                                        answer->menu.source.path, answer->boot.error()));
    return FoundBoot{std::move(answer->menu), answer->entry, std::move(*answer->boot)};
  }

  const GuestConfig& guest_;
  PygrubArguments arguments_;
  std::unique_ptr<GuestFiles> files_;
};

/// Appends all of `from`, and zeroes up to a multiple of four: so Linux takes several archives for one.
bool append_file(const vmm::Fd& to, std::uint64_t& at, const FstestOutput& from) {
  if (::lseek(to.get(), static_cast<off_t>(at), SEEK_SET) < 0) return false;
  off_t offset = 0;
  while (static_cast<std::uint64_t>(offset) < from.size) {
    const auto sent =
        ::sendfile(to.get(), from.file.get(), &offset, from.size - static_cast<std::uint64_t>(offset));
    if (sent <= 0 && errno != EINTR) return false;
  }
  at += (from.size + 3) / 4 * 4;
  return ::ftruncate(to.get(), static_cast<off_t>(at)) == 0;
}

std::string name_of(const FilePlace& place) {
  return loader::printable(fmt::format("({}){}", place.device, place.path), 300);
}

tl::expected<LoadedBoot, std::string> Bootloader::load(const FoundBoot& found) {
  LoadedBoot loaded;
  if (found.menu)
    for (const std::string& notice : found.menu->notices)
      loaded.notices.push_back(
          loader::printable(fmt::format("{}: {}", found.menu->source.path, notice), 300));
  loaded.command_line = found.boot.arguments;
  loaded.kernel_name = name_of(found.boot.kernel);
  // What does not fit into the guest's memory would only take the host's.
  std::uint64_t left = std::min(most_file_bytes, guest_.memory_bytes);
  auto kernel = files_->copy(found.boot.kernel, left);
  if (!kernel) return tl::unexpected(kernel.error());
  loaded.kernel = std::move(kernel->file);
  if (found.boot.initrds.empty()) return loaded;
  loaded.initrd = vmm::Fd(::memfd_create("pinfold-initrd", MFD_CLOEXEC));
  std::uint64_t size = 0;
  for (const FilePlace& place : found.boot.initrds) {
    auto initrd = files_->copy(place, left);
    if (!initrd) return tl::unexpected(initrd.error());
    left -= initrd->size;
    loaded.initrd_name += (loaded.initrd_name.empty() ? "" : ", ") + name_of(place);
    if (!append_file(loaded.initrd, size, *initrd))
      return tl::unexpected(fmt::format("{}: {}", name_of(place), std::strerror(errno)));
  }
  return loaded;
}

}  // namespace

tl::expected<FoundBoot, std::string> find_boot(const GuestConfig& guest) {
  Bootloader bootloader(guest);
  if (auto opened = bootloader.open(); !opened) return tl::unexpected(opened.error());
  return bootloader.find({});
}

tl::expected<LoadedBoot, std::string> load_boot(const GuestConfig& guest, const Prompt& prompt) {
  Bootloader bootloader(guest);
  if (auto opened = bootloader.open(); !opened) return tl::unexpected(opened.error());
  const auto found = bootloader.find(prompt);
  if (!found) return tl::unexpected(found.error());
  return bootloader.load(*found);
}

}  // namespace pinfold::cli::bootloader
