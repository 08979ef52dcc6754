#include "cli/bootloader/boot_disks.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "cli/images/image_servers.hpp"

namespace pinfold::cli::bootloader {

tl::expected<BootDisks, std::string> BootDisks::open(const GuestConfig& guest, const BootImages& images) {
  BootDisks all;
  const auto failed = [](const DiskConfig& disk, const std::string& why) {
    return tl::unexpected(fmt::format("disk {}: {}", name_of(disk), why));
  };
  for (std::size_t n = 0; n < guest.disks.size() && n < most_boot_disks; ++n) {
    const DiskConfig& disk = guest.disks[n];
    if (disk.target.empty() || !disk.script.empty() || !disk.backend.empty()) break;
    if (!has_server(disk)) {
      vmm::Fd file(::open(disk.target.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      if (!file.open()) return failed(disk, std::strerror(errno));
      all.disks_.emplace_back(std::move(file));
      continue;
    }
    auto reader = ImageReader::make(images.at(n));
    if (!reader) return tl::unexpected(reader.error());
    all.served_.push_back({name_of(disk), reader->get()});
    all.disks_.emplace_back(std::move(*reader));
  }
  if (guest.disks.empty())
    return tl::unexpected(std::string("bootloader: the guest has no disk to find a kernel on"));
  if (all.disks_.empty())
    return tl::unexpected(fmt::format(
        "bootloader: the first disk ({}) has no image, and only in such a kernel can be looked for",
        guest.disks.front().vdev));
  return all;
}

std::string BootDisks::trouble() const {
  for (const Served& disk : served_)
    if (!disk.reader->trouble().empty())
      return fmt::format("{} can't be read: {}", disk.name, disk.reader->trouble());
  return {};
}

}  // namespace pinfold::cli::bootloader
