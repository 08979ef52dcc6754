#include "cli/run/disks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/config/vdev.hpp"
#include "cli/images/image_servers.hpp"
#include "cli/images/remote_image.hpp"
#include "devices/block/empty_image.hpp"
#include "devices/block/nbd_image.hpp"
#include "devices/block/raw_image.hpp"

namespace pinfold::cli {
namespace {

namespace block = devices::block;

using Opened = tl::expected<block::OpenImage, std::string>;

Opened open_raw(const DiskConfig& disk) {
  block::RawImageOptions options;
  options.read_only = disk.read_only;
  options.discard = disk.discard;
  options.direct_io = disk.direct_io;
  return block::open_raw_image(disk.target, options);
}

Opened open_served(const DiskConfig& disk, ServerConnections server) {
  block::NbdImageOptions options;
  options.name = name_of(disk);
  options.read_only = disk.read_only;
  options.discard = disk.discard;
  const auto remote = images::remote_image(disk.target.string());
  // The supervisor watches the servers that it started.
  options.end_is_told = !remote;
  if (remote && *remote) options.export_name = (*remote)->export_name;
  return block::open_nbd_image(std::move(server.sockets), options, std::move(server.tie));
}

/// The image; what there is to say about it goes to stderr.
tl::expected<std::unique_ptr<block::Image>, std::string> taken(Opened opened) {
  if (!opened) return tl::unexpected(opened.error());
  for (const std::string& notice : opened->notices) fmt::print(stderr, "pinfold: {}\n", notice);
  return std::move(opened->image);
}

}  // namespace

tl::expected<DiskImages, std::string> open_images(const GuestConfig& config, DiskSockets sockets) {
  auto images = open_served_images(config, std::move(sockets));
  if (!images) return images;
  for (std::size_t n = 0; n < config.disks.size(); ++n) {
    const DiskConfig& disk = config.disks[n];
    auto& image = (*images)[n];
    if (image != nullptr || !disk.backend.empty()) continue;
    // A CD-ROM drive without a medium.
    if (disk.target.empty()) {
      image = std::make_unique<block::EmptyImage>();
      continue;
    }
    auto opened = taken(open_raw(disk));
    if (!opened) return tl::unexpected(opened.error());
    image = std::move(*opened);
  }
  return images;
}

tl::expected<DiskImages, std::string> open_served_images(const GuestConfig& config, DiskSockets sockets) {
  DiskImages images(config.disks.size());
  sockets.resize(config.disks.size());
  for (std::size_t n = 0; n < config.disks.size(); ++n) {
    if (sockets[n].sockets.empty()) continue;
    auto opened = taken(open_served(config.disks[n], std::move(sockets[n])));
    if (!opened) return tl::unexpected(opened.error());
    images[n] = std::move(*opened);
  }
  return images;
}

tl::expected<void, std::string> add_disks(devices::xenbus::Bus& bus, const GuestConfig& config,
                                          DiskImages images, DomId guest, const block::DiskLinks& links) {
  for (std::size_t n = 0; n < images.size(); ++n) {
    const DiskConfig& config_of = config.disks[n];
    if (!config_of.backend.empty()) continue;
    const auto number = vdev_number(config_of.vdev);
    if (!number) return tl::unexpected(fmt::format("disk {}: no name of a virtual device", config_of.vdev));
    block::DiskNodes nodes{*number, config_of.vdev, config_of.cdrom};
    auto disk = block::Disk::make(std::move(images[n]), std::move(nodes), links, config.vcpus);
    if (!disk) return tl::unexpected(fmt::format("disk {}: {}", config_of.vdev, disk.error()));
    bus.add({"vbd", guest, *number}, std::move(*disk));
  }
  return {};
}

}  // namespace pinfold::cli
