// How a client gives a running guest a disk: it opens the image, or has a server for it.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cli/config/vdev.hpp"
#include "cli/control/client.hpp"
#include "cli/hotplug/client.hpp"
#include "cli/hotplug/keeper.hpp"
#include "cli/images/image_server.hpp"
#include "cli/images/remote_image.hpp"
#include "devices/block/inspect.hpp"
#include "devices/block/raw_image.hpp"

namespace pinfold::cli {
namespace {

namespace block = devices::block;
using Failed = tl::unexpected<std::string>;

/// What the guest's monitor is sent.
struct Offer {
  Json request;
  Descriptors descriptors;
  pid_t keeper = 0;
  std::vector<std::string> notices = {};  ///< For the user, once the guest has the disk.
};
using Offered = tl::expected<Offer, std::string>;

/// The end of a path says more than its beginning, and a request has a limit.
std::string short_name(const std::string& path) {
  constexpr std::size_t most = 1024;
  return path.size() <= most ? path : "…" + path.substr(path.size() - most);
}

Json common_part(const DiskConfig& disk, std::uint32_t number) {
  return {{"vdev", disk.vdev},
          {"number", number},
          {"cdrom", disk.cdrom},
          {"image", disk.target.empty() ? "no medium" : short_name(disk.target.string())}};
}

/// What the driver domain is told of its device.
Json request_of_driver_domain(const DiskConfig& disk, std::uint32_t number) {
  return {{"vdev", disk.vdev},
          {"number", number},
          {"cdrom", disk.cdrom},
          {"backend", disk.backend},
          {"target", disk.target.string()},
          {"script", disk.script},
          {"read_only", disk.read_only},
          {"discard", disk.discard},
          {"direct_io", disk.direct_io}};
}

Json describe(const block::Inspected& is) {
  return {{"read_only", is.geometry.read_only},
          {"sectors", is.geometry.sectors},
          {"sector_bytes", is.geometry.logical_sector_bytes},
          {"physical_sector_bytes", is.geometry.physical_sector_bytes},
          {"discard", is.geometry.can_discard},
          {"discard_granularity", is.geometry.discard_granularity},
          {"address_alignment", is.alignment.address},
          {"length_alignment", is.alignment.length}};
}

Offered offer_raw(const DiskConfig& disk) {
  block::RawImageOptions options;
  options.read_only = disk.read_only;
  options.discard = disk.discard;
  options.direct_io = disk.direct_io;
  const std::string name = disk.target.string();
  auto fd = block::open_image_file(disk.target, options);
  if (!fd) return Failed(fd.error());
  auto is = block::inspect(fd->get(), name, options);
  if (!is) return Failed(is.error());
  const auto locked = block::lock_for_use(fd->get(), name, options);
  if (!locked) return Failed(locked.error());
  Offer offer{describe(*is), {}, 0, std::move(is->notices)};
  offer.notices.insert(offer.notices.end(), locked->begin(), locked->end());
  offer.descriptors.push_back(std::move(*fd));
  return offer;
}

Json describe_served(const DiskConfig& disk) {
  return {{"served", true}, {"read_only", disk.read_only}, {"discard", disk.discard}};
}

Offered offer_remote(const DiskConfig& disk, const tl::expected<images::RemoteImage, std::string>& place) {
  if (!place) return Failed(place.error());
  if (disk.format != DiskFormat::raw)
    return Failed("what an NBD server serves has the format raw; the server knows the image's");
  auto connected = images::connect_to(*place, 1);
  if (!connected) return Failed(connected.error());
  Offer offer{describe_served(disk), std::move(*connected)};
  offer.request["export"] = place->export_name;
  return offer;
}

/// The server's process is a child of a keeper, which ends it when the guest's monitor lets go of the disk.
Offered offer_served(const DiskConfig& disk, const std::vector<std::string>& allowed) {
  auto kept = make_in_keeper([&]() -> tl::expected<MadeForDevice, std::string> {
    auto server = images::ImageServer::start(disk, allowed, 1, std::nullopt);
    if (!server) return Failed(server.error());
    MadeForDevice made;
    made.descriptors = server->take_sockets();
    made.clean_up = std::make_shared<images::ImageServer>(std::move(*server));
    return made;
  });
  if (!kept) return Failed(fmt::format("disk {}: {}", disk.target.string(), kept.error()));
  Offer offer{describe_served(disk), std::move(kept->descriptors), kept->process};
  offer.descriptors.push_back(std::move(kept->tie));
  return offer;
}

Offered offer_of(const DiskConfig& disk, const std::vector<std::string>& allowed) {
  if (disk.target.empty()) return Offer{{{"empty", true}}, {}};
  if (const auto remote = images::remote_image(disk.target.string())) return offer_remote(disk, *remote);
  return disk.format == DiskFormat::raw ? offer_raw(disk) : offer_served(disk, allowed);
}

/// The monitor asks the server before it offers the disk to the guest.
tl::expected<void, std::string> wait_until_there(const RunningGuest& guest, std::uint32_t number) {
  using Clock = std::chrono::steady_clock;
  // Longer than the monitor waits for a server.
  constexpr std::chrono::seconds patience{30};
  const auto end = Clock::now() + patience;
  for (std::chrono::milliseconds pause{2}; Clock::now() < end;
       pause = std::min(2 * pause, std::chrono::milliseconds(100))) {
    const auto now = ask_guest_named(guest, "device", {{"kind", "vbd"}, {"number", number}});
    if (!now) return Failed(now.error());
    if (flag_in(*now, "present")) return {};
    if (const std::string why = text_in(*now, "failure"); !why.empty()) return Failed(why);
    if (!flag_in(*now, "arriving")) return Failed("it has been detached again");
    std::this_thread::sleep_for(pause);
  }
  return Failed(fmt::format("the image's server has not answered within {} s", patience.count()));
}

}  // namespace

ClientAnswer attach_disk(const RunningGuest& guest, const DiskConfig& disk,
                         const std::vector<std::string>& allowed) {
  const auto failed = [&](const std::string& why) { return Failed(fmt::format("{}: {}", disk.vdev, why)); };
  const auto number = vdev_number(disk.vdev);
  if (!number) return failed("no name of a virtual device");
  // First of all: the image of a disk that the guest has already is locked, which says less.
  const auto there = ask_guest_named(guest, "device", {{"kind", "vbd"}, {"number", *number}});
  if (!there) return Failed(there.error());
  if (flag_in(*there, "present")) return Failed(fmt::format("the guest has a disk {} already", disk.vdev));
  if (!disk.backend.empty()) {
    auto answer = attach_of_driver_domain(guest, {"vbd", *number}, disk.backend, "block-attach",
                                          request_of_driver_domain(disk, *number));
    if (!answer) return failed(answer.error());
    return answer;
  }
  auto offer = offer_of(disk, allowed);
  if (!offer) return failed(offer.error());
  offer->request.update(common_part(disk, *number));
  std::vector<int> passed;
  for (const vmm::Fd& fd : offer->descriptors) passed.push_back(fd.get());
  auto answer = ask_guest_named(guest, "block-attach", offer->request, 10, passed);
  if (!answer) return failed(answer.error());
  // The monitor's copies are to be the last ones.
  offer->descriptors.clear();
  if (flag_in(offer->request, "served")) {
    if (auto came = wait_until_there(guest, *number); !came) return failed(came.error());
    answer->erase("state");
  }
  note(guest, {"vbd", *number},
       {text_of(disk), allowed, offer->keeper == 0 ? KeeperNote{} : KeeperNote::of(offer->keeper)});
  for (const std::string& notice : offer->notices) fmt::print(stderr, "pinfold: {}\n", notice);
  return answer;
}

}  // namespace pinfold::cli
