#include "devices/block/disk.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::block {

using xenbus::DeviceNodes;
using xenbus::FrontendNodes;

Disk::Disk(std::shared_ptr<Image> image, DiskNodes nodes, DiskLinks links)
    : image_(std::move(image)),
      geometry_(image_->geometry()),
      nodes_(std::move(nodes)),
      links_(std::move(links)),
      rings_(links_.grants, links_.frame_holder()) {}

tl::expected<std::unique_ptr<Disk>, std::string> Disk::make(std::shared_ptr<Image> image, DiskNodes nodes,
                                                            DiskLinks links, std::uint32_t queues) {
  std::unique_ptr<Disk> disk(new Disk(std::move(image), std::move(nodes), std::move(links)));
  const std::size_t most = std::min<std::size_t>(most_queues, disk->image_->most_queues());
  for (std::size_t n = 0; n < std::clamp<std::size_t>(queues, 1, most); ++n) {
    auto transfers = disk->image_->make_queue(RequestRing::size);
    if (!transfers) return tl::unexpected(transfers.error());
    auto thread = queue_thread(disk->links_.threads.get(), disk->links_.wake_bus);
    if (!thread) return tl::unexpected(thread.error());
    disk->queues_.push_back(
        std::make_unique<Queue>(Queue{{GrantAccess(disk->links_.grants, disk->links_.frame_holder()),
                                       std::move(*transfers), std::make_shared<QueueCounts>()},
                                      std::move(*thread)}));
  }
  return disk;
}

DeviceNodes Disk::backend_nodes() const {
  return {{"dev", nodes_.vdev},
          {"mode", geometry_.read_only ? "r" : "w"},
          {"device-type", nodes_.cdrom ? "cdrom" : "disk"},
          {"removable", nodes_.cdrom ? "1" : "0"},
          {"type", "file"},
          {"discard-enable", geometry_.can_discard ? "1" : "0"}};
}

DeviceNodes Disk::frontend_nodes() const {
  DeviceNodes nodes = {{"virtual-device", std::to_string(nodes_.number)},
                       {"device-type", nodes_.cdrom ? "cdrom" : "disk"}};
  if (!links_.trusted) nodes.push_back({"trusted", "0"});
  return nodes;
}

void Disk::start() {
  for (const auto& queue : queues_) queue->thread->start();
}

/// A frontend copies each request if grants are persistent; here the host's kernel gets at the guest's memory
/// directly, so they would only cost.
DeviceNodes Disk::features() const {
  DeviceNodes nodes = {{"feature-barrier", "0"},
                       {"feature-flush-cache", geometry_.can_flush ? "1" : "0"},
                       {"feature-persistent", "0"},
                       {"feature-max-indirect-segments", std::to_string(max_segments)},
                       {"max-ring-page-order", "0"},
                       {"multi-queue-max-queues", std::to_string(queues_.size())},
                       {"feature-discard", geometry_.can_discard ? "1" : "0"}};
  if (geometry_.can_discard) {
    nodes.push_back({"discard-granularity", std::to_string(geometry_.discard_granularity)});
    nodes.push_back({"discard-alignment", "0"});
    nodes.push_back({"discard-secure", "0"});
  }
  return nodes;
}

DeviceNodes Disk::properties() const {
  const unsigned info =
      (nodes_.cdrom ? VDISK_CDROM | VDISK_REMOVABLE : 0) | (geometry_.read_only ? VDISK_READONLY : 0);
  return {{"sectors", std::to_string(image_->geometry().sectors)},
          {"info", std::to_string(info)},
          {"sector-size", std::to_string(geometry_.logical_sector_bytes)},
          {"physical-sector-size", std::to_string(geometry_.physical_sector_bytes)}};
}

tl::expected<DeviceNodes, std::string> Disk::connect(const FrontendNodes& frontend) {
  const auto protocol = frontend.text("protocol");
  if (protocol && *protocol != XEN_IO_PROTO_ABI_X86_64)
    return tl::unexpected(std::string("the frontend's protocol is not " XEN_IO_PROTO_ABI_X86_64));
  const auto queues = queues_of(frontend);
  if (!queues) return tl::unexpected(queues.error());
  for (std::uint32_t n = 0; n < *queues; ++n) {
    // A frontend with one queue writes its nodes as one that knows only one queue.
    const auto nodes = *queues == 1 ? frontend : frontend.below("queue-" + std::to_string(n));
    if (auto connected = connect_queue(*queues_[n], nodes); !connected)
      return tl::unexpected("queue " + std::to_string(n) + ": " + connected.error());
  }
  return properties();
}

tl::expected<std::uint32_t, std::string> Disk::queues_of(const FrontendNodes& frontend) const {
  for (const auto& [name, only] : {std::pair{"ring-page-order", 0U}, std::pair{"num-ring-pages", 1U}}) {
    const auto value = frontend.number(name);
    if (!value) return tl::unexpected(value.error());
    if (value->value_or(only) != only)
      return tl::unexpected(std::string("the frontend's ring is larger than one page"));
  }
  const auto queues = frontend.number("multi-queue-num-queues");
  if (!queues) return tl::unexpected(queues.error());
  const std::uint32_t count = queues->value_or(1);
  if (count == 0 || count > queues_.size())
    return tl::unexpected(std::string("the frontend's multi-queue-num-queues is not what was offered"));
  return count;
}

tl::expected<void, std::string> Disk::connect_queue(Queue& queue, const FrontendNodes& nodes) {
  const auto ref = nodes.required_number("ring-ref");
  if (!ref) return tl::unexpected(ref.error());
  const auto port = nodes.required_number("event-channel");
  if (!port) return tl::unexpected(port.error());
  auto ring = rings_.use(GrantRef(*ref), GrantUse::write);
  if (!ring) return tl::unexpected(std::string("ring-ref is no grant of a page that may be written"));
  auto end = links_.events.bind_monitor_channel(
      Port(*port), [bell = queue.thread->bell(), counts = queue.parts.counts](vmm::Hypercall&) {
        QueueCounts::add(counts->events_received);
        bell->ring();
        return Served::all;
      });
  if (!end) return tl::unexpected(std::string("event-channel is no port that waits for this domain"));
  queue.thread->connect(
      std::make_unique<RequestLink>(std::move(*end), std::move(*ring), queue.parts, *image_));
  return {};
}

tl::expected<std::uint64_t, std::string> Disk::grow(std::optional<std::uint64_t> bytes) {
  const std::uint64_t before = image_->geometry().sectors;
  const auto sectors = image_->grow(bytes);
  if (!sectors) return tl::unexpected(sectors.error());
  if (*sectors != before) grown_ = true;
  return *sectors * sector_bytes;
}

DeviceNodes Disk::news() {
  if (!grown_.exchange(false)) return {};
  return {{"sectors", std::to_string(image_->geometry().sectors)}};
}

bool Disk::see_off() {
  bool all = true;
  for (const auto& queue : queues_) all = queue->thread->see_off() && all;
  return all;
}

void Disk::disconnect() {
  for (const auto& queue : queues_) queue->thread->disconnect();
}

bool Disk::is_disconnected() {
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const auto& queue) { return queue->thread->is_idle(); });
}

std::optional<std::string> Disk::failure() {
  for (const auto& queue : queues_)
    if (const char* const fault = queue->thread->fault()) return fault;
  return std::nullopt;
}

xenbus::DeviceCounts Disk::counts() const {
  constexpr std::pair<const char*, QueueCounts::Count QueueCounts::*> named[] = {
      {"requests", &QueueCounts::requests},       {"failed", &QueueCounts::failed},
      {"flushes", &QueueCounts::flushes},         {"discards", &QueueCounts::discards},
      {"bytes_read", &QueueCounts::bytes_read},   {"bytes_written", &QueueCounts::bytes_written},
      {"events_sent", &QueueCounts::events_sent}, {"events_received", &QueueCounts::events_received}};
  xenbus::DeviceCounts all{"disk " + nodes_.vdev, {}};
  for (const auto& [name, count] : named) {
    std::uint64_t sum = 0;
    for (const auto& queue : queues_) sum += (*queue->parts.counts).*count;
    all.counts.emplace_back(name, sum);
  }
  return all;
}

}  // namespace pinfold::devices::block
