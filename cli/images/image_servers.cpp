#include "cli/images/image_servers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/images/remote_image.hpp"
#include "devices/block/image.hpp"

namespace pinfold::cli {

std::string name_of(const DiskConfig& disk) {
  return disk.target.empty() ? disk.vdev : fmt::format("{} ({})", disk.vdev, disk.target.string());
}

bool has_server(const DiskConfig& disk) {
  return !disk.target.empty() && disk.backend.empty() &&
         (disk.format != DiskFormat::raw || images::remote_image(disk.target.string()));
}

tl::expected<ImageServers, std::string> ImageServers::open(const RunOptions& options) {
  ImageServers servers;
  const auto connections = std::min<std::size_t>(options.guest.vcpus, devices::block::max_queues);
  for (const DiskConfig& disk : options.guest.disks) {
    auto& [sockets, tie] = servers.sockets_.emplace_back();
    const auto failed = [&disk](const std::string& why) {
      return tl::unexpected(fmt::format("disk {}: {}", name_of(disk), why));
    };
    if (!disk.backend.empty()) continue;
    if (const auto remote = images::remote_image(disk.target.string())) {
      if (!*remote) return failed(remote->error());
      if (disk.format != DiskFormat::raw)
        return failed("what an NBD server serves has the format raw; the server knows the image's");
      auto connected = images::connect_to(**remote, connections);
      if (!connected) return failed(connected.error());
      sockets = std::move(*connected);
    } else if (disk.format != DiskFormat::raw && !disk.target.empty()) {
      auto server =
          images::ImageServer::start(disk, options.guest.allowed_images, connections, options.sandbox.user);
      if (!server) return failed(server.error());
      sockets = server->take_sockets();
      auto ties = DeviceTie::make();
      tie = std::move(ties.monitors);
      servers.servers_.push_back({name_of(disk), std::move(*server), std::move(ties.ours)});
    }
  }
  return servers;
}

void ImageServers::ask_to_end() {
  for (Server& server : servers_) server.process.ask_to_end();
}

std::optional<tools::ConfinedTool::Clock::time_point> ImageServers::deadline() {
  servers_.remove_if([](Server& of) { return of.process.ended().has_value(); });
  if (servers_.empty()) return std::nullopt;
  return servers_.front().process.deadline();
}

std::vector<HelperTrouble> ImageServers::troubles() {
  std::vector<HelperTrouble> all;
  for (Server& server : servers_)
    if (const auto end = server.process.ended())
      all.push_back(
          {fmt::format("disk {}: {}", server.disk, end->how),
           "the guest gets I/O errors of this disk until it is started anew; what it had flushed is "
           "in the image",
           end->was_killed, end->ended_well, server.device});
  return all;
}

}  // namespace pinfold::cli
