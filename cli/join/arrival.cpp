#include "cli/join/arrival.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/config/cpu_list.hpp"
#include "cli/control/protocol.hpp"
#include "cli/images/image_servers.hpp"
#include "cli/join/pack.hpp"
#include "cli/join/parcel.hpp"
#include "cli/supervisor/handover.hpp"
#include "devices/block/empty_image.hpp"
#include "devices/block/passed_image.hpp"
#include "devices/block/request_ring.hpp"

namespace pinfold::cli::join {
namespace {

namespace block = devices::block;
using Failed = tl::unexpected<std::string>;

constexpr std::size_t most_kernel_bytes = std::size_t{1} << 32;

/// The descriptors of a parcel, each of which is taken once.
class Files {
 public:
  explicit Files(Descriptors files) : files_(std::move(files)) {}
  /// Not open: the text names none.
  [[nodiscard]] vmm::Fd take(const Json& number) {
    if (!number.is_number_integer() || number.get<std::int64_t>() < 0) return {};
    const auto at = number.get<std::uint64_t>();
    return at < files_.size() ? std::move(files_[at]) : vmm::Fd();
  }

 private:
  Descriptors files_;
};

/// A copy would double the memory that the host needs. The file can't change.
tl::expected<loader::Buffer, std::string> contents(const vmm::Fd& file) {
  const auto size = size_of_sealed(file);
  if (!size) return Failed(size.error());
  if (*size == 0 || *size > most_kernel_bytes)
    return Failed("a kernel or an initrd of no bytes, or of too many");
  auto mapped = loader::Buffer::map_descriptor(file.get(), *size);
  if (!mapped) return Failed(mapped.error().message);
  return std::move(*mapped);
}

tl::expected<SymbolFile, std::string> symbols_of(const vmm::Fd& file, const std::filesystem::path& path) {
  if (!file.open()) return SymbolFile();
  const auto size = size_of_sealed(file);
  if (!size) return Failed(size.error());
  if (*size == 0 || *size > most_bytes_of_map) return Failed("a map of no bytes, or of too many");
  auto mapped = loader::Buffer::map_descriptor(file.get(), *size);
  if (!mapped) return Failed(mapped.error().message);
  return SymbolFile::of(std::move(*mapped), path);
}

/// Queues of all disks together: of each, one a vCPU.
tl::expected<std::shared_ptr<block::TransferReserve>, std::string> transfers_of(const GuestConfig& guest) {
  const auto queues = std::min<std::size_t>(guest.vcpus, block::max_queues) * guest.disks.size();
  return block::TransferReserve::make(std::max<std::size_t>(queues, 1), block::RequestRing::size);
}

tl::expected<DiskImages, std::string> images_of(const GuestConfig& guest, const Json& disks, Files& files) {
  DiskImages images;
  if (guest.disks.empty()) return images;
  const auto transfers = transfers_of(guest);
  if (!transfers) return Failed(transfers.error());
  for (std::size_t n = 0; n < guest.disks.size(); ++n) {
    const DiskConfig& disk = guest.disks[n];
    if (!disk.backend.empty()) {
      images.push_back(nullptr);
      continue;
    }
    if (disk.target.empty()) {
      images.push_back(std::make_unique<block::EmptyImage>());
      continue;
    }
    const Json& of = disks.at(n);
    block::PassedImage passed;
    passed.fd = files.take(of.at("file"));
    passed.name = name_of(disk);
    passed.geometry.sectors = of.at("sectors");
    passed.geometry.logical_sector_bytes = of.at("sector_bytes");
    passed.geometry.physical_sector_bytes = of.at("physical_sector_bytes");
    passed.geometry.read_only = disk.read_only;
    passed.geometry.can_discard = of.at("discard");
    passed.geometry.discard_granularity = of.at("discard_granularity");
    passed.alignment.address = of.at("address_alignment");
    passed.alignment.length = of.at("length_alignment");
    auto image = block::take_over_image(std::move(passed), *transfers);
    if (!image) return Failed(image.error());
    images.push_back(std::move(*image));
  }
  return images;
}

NetworkDescriptors networks_of(const Json& all, Files& files) {
  NetworkDescriptors networks;
  for (const Json& of : all) {
    VifDescriptors& vif = networks.emplace_back();
    for (const Json& lane : of.at("lanes")) vif.lanes.push_back(files.take(lane));
    vif.capture = files.take(of.at("capture"));
    vif.tie = files.take(of.at("tie"));
  }
  return networks;
}

tl::expected<ConsoleFiles, std::string> console_of(const ConsoleOptions& options, const Json& text,
                                                   Files& files) {
  ConsoleFiles console;
  if (text.contains("pty")) {
    console.pty.master = files.take(text["pty"].at(0));
    console.pty.slave = files.take(text["pty"].at(1));
    console.pty.path = text_in(text, "pty_path");
  }
  if (options.log.empty()) return console;
  std::vector<vmm::Fd> of_log;
  for (const Json& file : text.at("console_log")) of_log.push_back(files.take(file));
  if (of_log.empty() || of_log.size() > 1 + most_old_logs || options.log_bytes == 0)
    return Failed("a console's log of no files, or of too many");
  auto log = LogFiles::of(std::move(of_log), options.log_bytes);
  if (!log) return Failed(log.error());
  console.log = std::move(*log);
  return console;
}

/// Throws Json::exception for a text of another form.
tl::expected<Arrival, std::string> unpack(const Json& text, Files files) {
  const vmm::Fd bytes = files.take(text.at("options"));
  if (const auto size = size_of_sealed(bytes); !size) return Failed(size.error());
  auto options = decode_options(bytes_of(bytes));
  if (!options) return Failed("it was sent by another version of pinfold");
  if (auto objection = objection_to(*options); !objection.empty()) return Failed(std::move(objection));
  const GuestConfig& guest = options->guest;
  if (const auto error = error_in(guest)) return Failed(error->message);
  auto kernel = contents(files.take(text.at("kernel")));
  if (!kernel) return Failed(kernel.error());
  std::optional<loader::Initrd> initrd;
  if (vmm::Fd file = files.take(text.at("initrd")); file.open()) {
    auto read = contents(file);
    if (!read) return Failed(read.error());
    initrd.emplace(std::move(*read));
  }
  const auto& watch = options->watch;
  auto symbols =
      symbols_of(files.take(text.at("symbols")), watch.system_map.empty() ? watch.vmlinux : watch.system_map);
  auto processors = processors_of(guest.cpus, guest.all_vcpus(), vmm::Processors::of_this_thread());
  if (!symbols || !processors) return Failed(symbols ? "cpus: " + processors.error() : symbols.error());
  auto images = images_of(guest, text.at("disks"), files);
  if (!images) return Failed(images.error());
  auto console = console_of(options->console, text, files);
  if (!console) return Failed(console.error());
  LifeLinks links;
  for (std::size_t n = 0; n < socket_count; ++n) links.sockets[n] = files.take(text.at("sockets").at(n));
  links.debugger = files.take(text.at("debugger"));
  links.networks = networks_of(text.at("networks"), files);
  const auto served = std::count_if(guest.vifs.begin(), guest.vifs.end(),
                                    [](const VifConfig& vif) { return vif.backend.empty(); });
  if (std::cmp_not_equal(links.networks.size(), served)) return Failed("interfaces without descriptors");
  OpenInputs open{loader::KernelFile(guest.kernel, std::move(*kernel)),
                  std::move(initrd),
                  std::move(*symbols),
                  std::move(*images),
                  std::move(*console),
                  text.at("wall_offset").get<std::int64_t>(),
                  std::move(*processors)};
  return Arrival{std::move(*options), std::move(open), std::move(links)};
}

}  // namespace

tl::expected<Arrival, std::string> receive_guest(vmm::Fd socket) {
  auto parcel = receive_parcel(socket);
  if (!parcel) return Failed(parcel.error());
  try {
    auto arrival = unpack(Json::parse(parcel->text), Files(std::move(parcel->files)));
    if (arrival) arrival->links.supervisor = std::move(socket);
    return arrival;
  } catch (const Json::exception&) {
    return Failed("this is no guest");
  }
}

}  // namespace pinfold::cli::join
