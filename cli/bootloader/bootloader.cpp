#include "cli/bootloader/bootloader.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "cli/bootloader/boot_disks.hpp"
#include "cli/bootloader/guest_files.hpp"
#include "cli/bootloader/menu_child.hpp"
#include "cli/bootloader/pygrub_arguments.hpp"
#include "loader/load_error.hpp"

namespace pinfold::cli::bootloader {
namespace {

using boot_menu::Boot;
using boot_menu::FilePlace;
using boot_menu::Menu;

constexpr std::uint64_t most_file_bytes = std::uint64_t{1} << 30;

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

  tl::expected<void, std::string> open(const BootImages& images) {
    if (!arguments_.errors.empty()) return tl::unexpected("bootloader_args: " + arguments_.errors.front());
    auto disks = BootDisks::open(guest_, images);
    if (!disks) return tl::unexpected(disks.error());
    disks_ = std::move(*disks);
    auto fstest = Fstest::find(disks_.take());
    if (!fstest) return tl::unexpected(fstest.error().message);
    files_ = std::make_unique<GuestFiles>(std::move(*fstest));
    (void)files_->devices();
    if (files_->trouble()) return tl::unexpected(trouble_text());
    return {};
  }

  tl::expected<FoundBoot, std::string> find(const Prompt& prompt) {
    auto found = named_kernel().empty() ? from_menu(prompt) : from_names();
    if (files_->trouble()) return tl::unexpected(trouble_text());
    if (!found) {
      const std::string trouble = disks_.trouble();
      return tl::unexpected(disks_text() +
                            (trouble.empty() ? loader::printable(found.error(), 500) : trouble));
    }
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

  /// Of the files' trouble. A server that fails knows the reason better than its reader.
  [[nodiscard]] std::string trouble_text() const {
    const FstestError& error = *files_->trouble();
    if (error.kind == FstestTrouble::host) return error.message;
    const std::string why = disks_.trouble();
    return disks_text() + (why.empty() ? error.message : why);
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
  BootDisks disks_;
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

tl::expected<FoundBoot, std::string> find_boot(const GuestConfig& guest, const BootImages& images) {
  Bootloader bootloader(guest);
  if (auto opened = bootloader.open(images); !opened) return tl::unexpected(opened.error());
  return bootloader.find({});
}

tl::expected<LoadedBoot, std::string> load_boot(const GuestConfig& guest, const BootImages& images,
                                                const Prompt& prompt) {
  Bootloader bootloader(guest);
  if (auto opened = bootloader.open(images); !opened) return tl::unexpected(opened.error());
  const auto found = bootloader.find(prompt);
  if (!found) return tl::unexpected(found.error());
  return bootloader.load(*found);
}

}  // namespace pinfold::cli::bootloader
