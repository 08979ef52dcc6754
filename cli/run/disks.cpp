#include "cli/run/disks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/config/vdev.hpp"
#include "devices/block/raw_image.hpp"

namespace pinfold::cli {
namespace {

namespace block = devices::block;

tl::expected<std::unique_ptr<block::Image>, std::string> open_image(const DiskConfig& disk) {
  const auto error = [&](const char* why) {
    return tl::unexpected(
        fmt::format("disk {}: {}", disk.target.empty() ? disk.vdev : disk.target.string(), why));
  };
  if (disk.target.empty()) return error("a drive without a medium is not supported yet");
  if (disk.format != DiskFormat::raw)
    return error("only raw images are supported yet; convert it with qemu-img");
  block::RawImageOptions options;
  options.read_only = disk.read_only;
  options.discard = disk.discard;
  options.direct_io = disk.direct_io;
  auto opened = block::open_raw_image(disk.target, options);
  if (!opened) return tl::unexpected(opened.error());
  for (const std::string& notice : opened->notices) fmt::print(stderr, "pinfold: {}\n", notice);
  return std::move(opened->image);
}

}  // namespace

tl::expected<DiskImages, std::string> open_images(const GuestConfig& config) {
  DiskImages images;
  for (const DiskConfig& disk : config.disks) {
    auto image = open_image(disk);
    if (!image) return tl::unexpected(image.error());
    images.push_back(std::move(*image));
  }
  return images;
}

tl::expected<void, std::string> add_disks(devices::xenbus::Bus& bus, const GuestConfig& config,
                                          DiskImages images, DomId guest, const block::DiskLinks& links) {
  for (std::size_t n = 0; n < images.size(); ++n) {
    const DiskConfig& config_of = config.disks[n];
    const auto number = vdev_number(config_of.vdev);
    if (!number) return tl::unexpected(fmt::format("disk {}: no name of a virtual device", config_of.vdev));
    auto disk = block::Disk::make(std::move(images[n]), {*number, config_of.vdev, config_of.cdrom}, links,
                                  config.vcpus);
    if (!disk) return tl::unexpected(fmt::format("disk {}: {}", config_of.vdev, disk.error()));
    bus.add({"vbd", guest, *number}, std::move(*disk));
  }
  return {};
}

}  // namespace pinfold::cli
