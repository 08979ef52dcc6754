#include "devices/block/nbd_image.hpp"

#include <bit>
#include <optional>

#include "devices/block/nbd_connection.hpp"
#include "devices/block/nbd_queue.hpp"
#include "devices/block/request.hpp"

namespace pinfold::devices::block {
namespace {

constexpr std::uint64_t page = 4096;
constexpr std::chrono::milliseconds further_patience{2000};
/// What Linux can address with its signed offsets.
constexpr std::uint64_t largest_image = 1ULL << 62;

class NbdImage final : public Image {
 public:
  NbdImage(std::vector<NbdConnection> connections, const Geometry& geometry, const NbdImageOptions& options,
           vmm::Fd tie)
      : tie_(std::move(tie)),
        wakes_(options.wakes),
        shared_(options.name, geometry, options.patience, options.end_is_told),
        queues_(connections.size()) {
    for (NbdConnection& connection : connections) shared_.idle.put(std::move(connection));
  }

  [[nodiscard]] Geometry geometry() const override { return shared_.geometry; }
  [[nodiscard]] std::size_t most_queues() const override { return queues_; }
  [[nodiscard]] tl::expected<std::unique_ptr<TransferQueue>, std::string> make_queue(
      std::size_t depth) override {
    const auto failed = [&](const std::string& why) {
      return tl::unexpected("disk " + shared_.results.name() + ": " + why);
    };
    if (depth == 0 || depth > max_queue_depth)
      return failed("no queue is " + std::to_string(depth) + " transfers deep");
    auto wake = wake_from(wakes_.get());
    if (!wake) return failed(wake.error());
    auto connection = shared_.idle.take();
    if (!connection) return failed("there are no more connections to its server");
    return std::make_unique<NbdQueue>(shared_, std::move(*connection), depth, std::move(*wake));
  }

 private:
  vmm::Fd tie_;
  std::shared_ptr<WakeReserve> wakes_;
  NbdShared shared_;
  std::size_t queues_;
};

/// What the guest is told, or why it can't be told anything.
tl::expected<Geometry, std::string> geometry_of(const NbdExport& served, const NbdImageOptions& options) {
  Geometry is;
  is.sectors = served.bytes / sector_bytes;
  if (is.sectors == 0) return tl::unexpected(std::string("it is empty"));
  if (served.bytes > largest_image)
    return tl::unexpected(std::string("its server claims an impossible size"));
  if (served.read_only && !options.read_only)
    return tl::unexpected(std::string("its server has it read-only; attach it so"));
  const std::uint64_t block = std::max(served.least_block, sector_bytes);
  if (!std::has_single_bit(block) || block > page || served.bytes % block != 0)
    return tl::unexpected(std::string("its server transfers only blocks of a size that guests can't use"));
  if (served.most_block != 0 && served.most_block < max_segments * page)
    return tl::unexpected(std::string("its server takes only smaller requests than guests make"));
  is.logical_sector_bytes = is.physical_sector_bytes = static_cast<std::uint32_t>(block);
  is.read_only = options.read_only;
  is.can_flush = served.can_flush;
  is.can_discard = served.can_trim && options.discard && !options.read_only;
  if (is.can_discard) is.discard_granularity = static_cast<std::uint32_t>(page);
  return is;
}

bool is_same(const NbdExport& one, const NbdExport& other) {
  return one.bytes == other.bytes && one.read_only == other.read_only && one.can_flush == other.can_flush &&
         one.can_trim == other.can_trim && one.least_block == other.least_block &&
         one.most_block == other.most_block;
}

}  // namespace

tl::expected<OpenImage, std::string> open_nbd_image(std::vector<vmm::Fd> sockets,
                                                    const NbdImageOptions& options, vmm::Fd tie) {
  const auto failed = [&](const std::string& why) {
    return tl::unexpected("disk " + options.name + ": " + why);
  };
  std::vector<NbdConnection> connections;
  NbdExport served;
  for (vmm::Fd& socket : sockets) {
    // A server may take fewer clients than the host made connections.
    const auto patience = connections.empty() ? options.connect_patience : further_patience;
    auto connection =
        NbdConnection::make(std::move(socket), options.export_name, patience, options.given_up.get());
    if (!connection && !connections.empty()) break;
    if (!connection) return failed("its server can't be used: " + connection.error());
    const NbdExport now = connection->what_is_served();
    if (connections.empty()) served = now;
    if (!is_same(served, now)) return failed("its server says one thing here and another there");
    connections.push_back(std::move(*connection));
    // Without it, a flush covers the writes of its own connection only.
    if (!served.multi_conn && !options.read_only) break;
  }
  if (connections.empty()) return failed("there is no connection to its server");
  auto geometry = geometry_of(served, options);
  if (!geometry) return failed(geometry.error());
  OpenImage open;
  if (!geometry->can_flush && !geometry->read_only)
    open.notices.push_back(
        "disk " + options.name +
        ": its server can't flush: what the guest wrote is safe only when the server says so");
  open.image = std::make_unique<NbdImage>(std::move(connections), *geometry, options, std::move(tie));
  return open;
}

}  // namespace pinfold::devices::block
