// A guest's disks, from its configuration to their backends.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/guest_config.hpp"
#include "cli/images/descriptors.hpp"
#include "devices/block/disk.hpp"
#include "devices/block/image.hpp"
#include "devices/xenbus/bus.hpp"

namespace pinfold::cli {

/// The images of a guest's disks, open and locked, in the order of GuestConfig::disks. Lives of the guest in
/// one machine use the same ones, one after the other. Null: another guest serves the disk.
using DiskImages = std::vector<std::shared_ptr<devices::block::Image>>;

/// Opens each image, or negotiates with its server. An error is one line that names the image and says what
/// to do.
[[nodiscard]] tl::expected<DiskImages, std::string> open_images(const GuestConfig& config,
                                                                DiskSockets sockets);

/// Those that have a server; null for the others.
[[nodiscard]] tl::expected<DiskImages, std::string> open_served_images(const GuestConfig& config,
                                                                       DiskSockets sockets);

/// Adds a backend for each disk that this host serves to the bus. An error is one line.
[[nodiscard]] tl::expected<void, std::string> add_disks(devices::xenbus::Bus& bus, const GuestConfig& config,
                                                        DiskImages images, DomId guest,
                                                        const devices::block::DiskLinks& links);

}  // namespace pinfold::cli
