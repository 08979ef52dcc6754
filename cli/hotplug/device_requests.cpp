#include "cli/hotplug/device_requests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <limits>
#include <utility>

#include "cli/config/vdev.hpp"
#include "cli/run/driver_domains.hpp"

namespace pinfold::cli {
namespace {

namespace block = devices::block;
using devices::xenbus::DeviceStatus;
using Failed = tl::unexpected<std::string>;

tl::expected<std::uint32_t, std::string> small_number(const Json& arguments, const char* key) {
  const auto number = number_in(arguments, key);
  if (!number) return Failed(number.error());
  if (*number > std::numeric_limits<std::uint32_t>::max())
    return Failed(fmt::format("\"{}\" is too large", key));
  return static_cast<std::uint32_t>(*number);
}

/// What the client found out about the image.
tl::expected<void, std::string> read_geometry(const Json& arguments, block::PassedImage& image) {
  const auto sectors = number_in(arguments, "sectors");
  if (!sectors) return Failed(sectors.error());
  image.geometry.sectors = *sectors;
  const std::array numbers{std::pair{"sector_bytes", &image.geometry.logical_sector_bytes},
                           std::pair{"physical_sector_bytes", &image.geometry.physical_sector_bytes},
                           std::pair{"discard_granularity", &image.geometry.discard_granularity},
                           std::pair{"address_alignment", &image.alignment.address},
                           std::pair{"length_alignment", &image.alignment.length}};
  for (const auto& [key, to] : numbers) {
    const auto number = small_number(arguments, key);
    if (!number) return Failed(number.error());
    *to = *number;
  }
  image.geometry.read_only = flag_in(arguments, "read_only");
  image.geometry.can_discard = flag_in(arguments, "discard");
  return {};
}

bool never_waits(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

/// A descriptor that could make a thread of the monitor's wait, or is of another kind, is refused.
const char* error_in_lane(int fd, VifNet net) {
  struct stat is {};
  // Not the C library's fstat(2), which may be a call that takes a path, too.
  if (::syscall(SYS_fstat, fd, &is) != 0) return "a descriptor is not open";
  switch (net) {
    case VifNet::bridge:
    case VifNet::tap:
      if (!S_ISCHR(is.st_mode)) return "a descriptor is not that of a tap device";
      return never_waits(fd) ? nullptr : "the tap device's descriptor waits";
    case VifNet::listen:
      if (S_ISSOCK(is.st_mode) && !never_waits(fd)) return "the socket that listens waits";
      break;
    case VifNet::passt:
    case VifNet::connect: break;
  }
  return S_ISSOCK(is.st_mode) ? nullptr : "a descriptor is not that of a socket";
}

const char* error_in_capture(int fd) {
  struct stat is {};
  return ::syscall(SYS_fstat, fd, &is) == 0 && S_ISREG(is.st_mode) ? nullptr : "a capture is a regular file";
}

}  // namespace

bool DeviceRequests::takes_descriptors(const Request& request) {
  return request.command == "block-attach" || request.command == "network-attach";
}

std::optional<DeviceRequests::Answer> DeviceRequests::answer(const Request& request,
                                                             Descriptors& descriptors) {
  if (request.command == "block-attach") return attach_disk(request.arguments, descriptors);
  if (request.command == "network-attach") return attach_interface(request.arguments, descriptors);
  if (request.command == "device-detach") return detach(request.arguments);
  if (request.command == "block-resize") return resize(request.arguments);
  if (request.command == "devices") return list();
  if (request.command == "device") return look_at(request.arguments);
  return std::nullopt;
}

Json DeviceRequests::counts() {
  Json all = Json::object();
  for (const auto& device : hot_plug_.bus().counts()) {
    Json& of = all[device.device] = Json::object();
    for (const auto& [name, count] : device.counts) of[name] = count;
  }
  return all;
}

/// Descriptors: a connection to the server, and a tie if there is one.
DeviceRequests::Answer DeviceRequests::attach_served_disk(block::DiskNodes nodes, const Json& arguments,
                                                          Descriptors& descriptors) {
  if (const char* error = error_in_lane(descriptors[0].get(), VifNet::connect)) return Failed(error);
  ServedDisk disk;
  disk.options.name = text_in(arguments, "image");
  disk.options.export_name = text_in(arguments, "export");
  disk.options.read_only = flag_in(arguments, "read_only");
  disk.options.discard = flag_in(arguments, "discard");
  disk.socket = std::move(descriptors[0]);
  if (descriptors.size() == 2) disk.tie = std::move(descriptors[1]);
  const std::uint32_t number = nodes.number;
  disk.nodes = std::move(nodes);
  if (const auto begun = hot_plug_.attach_served_disk(std::move(disk)); !begun) return Failed(begun.error());
  return Json{{"kind", "vbd"}, {"number", number}, {"state", "arriving"}};
}

/// The target is the driver domain's: it is written into the store, and nothing on this host looks at it.
DeviceRequests::Answer DeviceRequests::attach_disk_of_driver_domain(const Json& arguments,
                                                                    std::uint32_t number) {
  DiskConfig disk;
  disk.vdev = text_in(arguments, "vdev");
  if (vdev_number(disk.vdev) != number) return Failed("\"vdev\" and \"number\" differ");
  disk.target = text_in(arguments, "target");
  disk.script = text_in(arguments, "script");
  disk.read_only = flag_in(arguments, "read_only");
  disk.cdrom = flag_in(arguments, "cdrom");
  disk.discard = flag_in(arguments, "discard");
  disk.direct_io = flag_in(arguments, "direct_io");
  const auto done = hot_plug_.attach_disk_of_driver_domain(number, disk.vdev, text_in(arguments, "backend"),
                                                           folders_of(disk));
  if (!done) return Failed(done.error());
  return Json{{"kind", "vbd"}, {"number", number}};
}

/// Descriptors: the image, or a connection to its server; and a tie if there is one.
DeviceRequests::Answer DeviceRequests::attach_disk(const Json& arguments, Descriptors& descriptors) {
  if (arguments.contains("backend")) {
    const auto number = small_number(arguments, "number");
    if (!number) return Failed(number.error());
    if (!descriptors.empty()) return Failed("a disk with a backend takes no descriptor");
    return attach_disk_of_driver_domain(arguments, *number);
  }
  const bool is_empty = flag_in(arguments, "empty");
  if (descriptors.empty() != is_empty || descriptors.size() > 2)
    return Failed("block-attach takes a descriptor of an image, and may take a tie");
  const auto number = small_number(arguments, "number");
  if (!number) return Failed(number.error());
  const std::string vdev = text_in(arguments, "vdev");
  block::PassedImage image;
  image.name = text_in(arguments, "image");
  if (vdev.empty() || image.name.empty()) return Failed("no text \"vdev\" or \"image\"");
  block::DiskNodes nodes{*number, vdev, flag_in(arguments, "cdrom")};
  if (is_empty) {
    if (!nodes.cdrom) return Failed("only a CD-ROM drive can be empty");
    if (auto done = hot_plug_.attach_empty_drive(std::move(nodes)); !done) return Failed(done.error());
    return Json{{"kind", "vbd"}, {"number", *number}};
  }
  if (flag_in(arguments, "served")) return attach_served_disk(std::move(nodes), arguments, descriptors);
  if (auto read = read_geometry(arguments, image); !read) return Failed(read.error());
  image.fd = std::move(descriptors[0]);
  if (descriptors.size() == 2) image.tie = std::move(descriptors[1]);
  const auto done = hot_plug_.attach_disk(std::move(nodes), std::move(image));
  if (!done) return Failed(done.error());
  return Json{{"kind", "vbd"}, {"number", *number}};
}

/// Descriptors: a tie, what carries the frames, and a capture if there is one; none if a driver domain serves
/// the interface.
DeviceRequests::Answer DeviceRequests::attach_interface(const Json& arguments, Descriptors& descriptors) {
  const auto index = small_number(arguments, "number");
  if (!index) return Failed(index.error());
  const auto vif = parse_vif(text_in(arguments, "vif"));
  if (!vif) return Failed(vif.error());
  if (vif->config.mac.empty()) return Failed("the interface has no mac");
  if (!vif->config.backend.empty() && descriptors.empty()) {
    const auto done = hot_plug_.attach_interface_of_driver_domain(vif->config, *index);
    if (!done) return Failed(done.error());
    return Json{{"kind", "vif"}, {"number", *index}};
  }
  if (!vif->config.backend.empty() || (descriptors.size() != 2 && descriptors.size() != 3))
    return Failed(
        "network-attach takes a tie and a descriptor of the network, and may take one of a capture; with "
        "backend= it takes none");
  if (const char* error = error_in_lane(descriptors[1].get(), vif->config.net)) return Failed(error);
  VifDescriptors wires;
  wires.tie = std::move(descriptors[0]);
  wires.lanes.push_back(std::move(descriptors[1]));
  if (descriptors.size() == 3) {
    if (const char* error = error_in_capture(descriptors[2].get())) return Failed(error);
    wires.capture = std::move(descriptors[2]);
  }
  const auto done = hot_plug_.attach_interface(vif->config, *index, std::move(wires));
  if (!done) return Failed(done.error());
  return Json{{"kind", "vif"}, {"number", *index}};
}

DeviceRequests::Answer DeviceRequests::detach(const Json& arguments) {
  const auto number = small_number(arguments, "number");
  if (!number) return Failed(number.error());
  if (auto done = hot_plug_.detach(text_in(arguments, "kind"), *number, flag_in(arguments, "force")); !done)
    return Failed(done.error());
  return Json{{"state", "leaving"}};
}

DeviceRequests::Answer DeviceRequests::resize(const Json& arguments) {
  const auto number = small_number(arguments, "number");
  if (!number) return Failed(number.error());
  std::optional<std::uint64_t> bytes;
  if (arguments.contains("bytes")) {
    const auto wanted = number_in(arguments, "bytes");
    if (!wanted) return Failed(wanted.error());
    bytes = *wanted;
  }
  const auto now = hot_plug_.resize_disk(*number, bytes);
  if (!now) return Failed(now.error());
  return Json{{"kind", "vbd"}, {"number", *number}, {"bytes", *now}};
}

DeviceRequests::Answer DeviceRequests::look_at(const Json& arguments) {
  const auto number = small_number(arguments, "number");
  if (!number) return Failed(number.error());
  const std::string kind = text_in(arguments, "kind");
  // In this order: a disk that has come is no arrival any more.
  if (const auto arrival = kind == "vbd" ? hot_plug_.arrival_of(*number) : Arrivals::Outcome{};
      !hot_plug_.bus().has(kind, *number)) {
    Json answer{{"present", false}, {"arriving", arrival.coming}};
    if (arrival.failure) answer["failure"] = *arrival.failure;
    return answer;
  }
  for (const DeviceStatus& device : hot_plug_.bus().devices()) {
    if (device.name.kind != kind || device.name.number != *number) continue;
    Json answer = describe(device);
    answer["present"] = true;
    return answer;
  }
  return Json{{"present", true}};
}

DeviceRequests::Answer DeviceRequests::list() {
  Json all = Json::array();
  for (const DeviceStatus& device : hot_plug_.bus().devices()) all.push_back(describe(device));
  return Json{{"devices", std::move(all)}};
}

/// What people look for: the backend's nodes, which are the monitor's own, and some of the frontend's, as the
/// guest wrote them.
Json DeviceRequests::describe(const DeviceStatus& device) {
  const auto back = device.name.backend_folder(), front = device.name.frontend_folder();
  const auto read = [this](const devices::xenstore::Path& folder, const char* name) {
    constexpr std::size_t most = 64;  // as long as any of these should be
    const auto value = store_->read(folder.child(name));
    return value ? Json(value->substr(0, most)) : Json();
  };
  Json answer{{"kind", device.name.kind},
              {"number", device.name.number},
              {"backend_id", device.name.backend.raw()},
              {"backend", back.text()},
              {"backend_state", static_cast<unsigned>(device.state)},
              {"leaving", device.departure != devices::xenbus::Departure::none},
              {"state", read(front, "state")},
              {"event_channel", read(front, "event-channel")}};
  if (device.name.kind == "vbd") {
    for (const auto& [key, node] : {std::pair{"vdev", "dev"}, std::pair{"mode", "mode"},
                                    std::pair{"device_type", "device-type"}, std::pair{"sectors", "sectors"}})
      answer[key] = read(back, node);
    answer["ring_ref"] = read(front, "ring-ref");
  } else {
    for (const char* node : {"mac", "bridge", "link"}) answer[node] = read(back, node);
    answer["tx_ring_ref"] = read(front, "tx-ring-ref");
    answer["rx_ring_ref"] = read(front, "rx-ring-ref");
    answer["event_channel_tx"] = read(front, "event-channel-tx");
    answer["event_channel_rx"] = read(front, "event-channel-rx");
  }
  return answer;
}

}  // namespace pinfold::cli
