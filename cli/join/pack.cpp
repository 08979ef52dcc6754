#include "cli/join/pack.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <tuple>
#include <utility>
#include <vector>

#include "cli/console/guest_console.hpp"
#include "cli/control/protocol.hpp"
#include "cli/images/image_servers.hpp"
#include "cli/images/remote_image.hpp"
#include "cli/join/elf_names.hpp"
#include "cli/join/parcel.hpp"
#include "cli/run/boot_source.hpp"
#include "cli/run/disks.hpp"
#include "cli/run/inputs.hpp"
#include "cli/supervisor/handover.hpp"
#include "devices/block/inspect.hpp"
#include "devices/block/raw_image.hpp"
#include "loader/buffer.hpp"

namespace pinfold::cli::join {
namespace {

namespace block = devices::block;

bool is_raw_file(const DiskConfig& disk) {
  return disk.target.empty() || !disk.backend.empty() ||
         (disk.format == DiskFormat::raw && !images::remote_image(disk.target.string()));
}

/// Descriptors by the number that the text has for each.
class Files {
 public:
  std::size_t add(vmm::Fd file) {
    numbers_.push_back(file.get());
    own_.push_back(std::move(file));
    return numbers_.size() - 1;
  }
  /// Of somebody who keeps it; -1: there is none.
  Json borrow(int file) {
    if (file < 0) return -1;
    numbers_.push_back(file);
    return numbers_.size() - 1;
  }
  [[nodiscard]] const std::vector<int>& numbers() const { return numbers_; }

 private:
  Descriptors own_;
  std::vector<int> numbers_;
};

Result<Json> add_disk(Files& files, const DiskConfig& disk) {
  if (disk.target.empty() || !disk.backend.empty()) return Json::object();
  block::RawImageOptions options;
  options.read_only = disk.read_only;
  options.discard = disk.discard;
  options.direct_io = disk.direct_io;
  const std::string name = disk.target.string();
  auto fd = block::open_image_file(disk.target, options);
  if (!fd) return failure(exit_bad_image, fd.error());
  const auto is = block::inspect(fd->get(), name, options);
  if (!is) return failure(exit_bad_image, is.error());
  const auto locked = block::lock_for_use(fd->get(), name, options);
  if (!locked) return failure(exit_bad_image, locked.error());
  for (const auto* notices : {&is->notices, &*locked})
    for (const std::string& notice : *notices) fmt::print(stderr, "pinfold: {}\n", notice);
  const block::Geometry& g = is->geometry;
  return Json{{"file", files.add(std::move(*fd))},
              {"sectors", g.sectors},
              {"sector_bytes", g.logical_sector_bytes},
              {"physical_sector_bytes", g.physical_sector_bytes},
              {"discard", g.can_discard},
              {"discard_granularity", g.discard_granularity},
              {"address_alignment", is->alignment.address},
              {"length_alignment", is->alignment.length}};
}

Result<void> add_console(Files& files, Json& text, const ConsoleOptions& options) {
  auto console = ConsoleFiles::open(options);
  if (!console) return failure(exit_bad_image, console.error());
  if (console->log)
    for (vmm::Fd& file : console->log->release()) text["console_log"].push_back(files.add(std::move(file)));
  if (!console->pty.master.open()) return {};
  text["pty"] = {files.add(std::move(console->pty.master)), files.add(std::move(console->pty.slave))};
  text["pty_path"] = console->pty.path;
  return {};
}

/// It is parsed by the machine's monitor, which trusts it no more than this process does.
Result<void> add_symbols(Files& files, Json& text, const RunOptions& options) {
  const auto& [map, vmlinux] = std::tie(options.watch.system_map, options.watch.vmlinux);
  if (!map.empty()) {
    const auto names = loader::Buffer::read_file(map, most_bytes_of_map);
    if (!names) return failure(exit_bad_image, fmt::format("{}: {}", map.string(), names.error().message));
    text["symbols"] = files.add(sealed_file(names->bytes()));
  } else if (!vmlinux.empty()) {
    // A thread of a confined monitor can't make the system calls of the library that reads ELF files.
    const auto names = names_in_elf(vmlinux, options.sandbox.mode);
    if (!names) return failure(exit_bad_image, names.error());
    text["symbols"] = files.add(sealed_file(std::as_bytes(std::span(*names))));
  }
  return {};
}

/// With a boot loader, kernel and RAM disk are on the guest's own disks.
Result<BootSource> find_boot(const RunOptions& options) {
  DiskImages images;
  if (!options.guest.bootloader.empty()) {
    auto opened = open_images(options.guest, {});
    if (!opened) return failure(exit_bad_image, opened.error());
    images = std::move(*opened);
  }
  auto source = BootSource::find(options, images);
  if (!source) return failure(exit_bad_image, source.error());
  return std::move(*source);
}

}  // namespace

std::string objection_to(const RunOptions& options) {
  if (options.watch.trace.to)
    return "--trace-mmu is for machines from their start; then it has the guests that join, too";
  for (const DiskConfig& disk : options.guest.disks)
    if (!is_raw_file(disk))
      return fmt::format(
          "disk {}: a guest that joins a machine has raw images of this host; `pinfold run a.cfg b.cfg` "
          "starts guests with others in one machine",
          name_of(disk));
  return {};
}

Result<void> send_guest(const vmm::Fd& socket, const RunOptions& options, const SocketNumbers& sockets,
                        int debugger, const NetworkDescriptors& networks) {
  auto source = find_boot(options);
  if (!source) return tl::unexpected(source.error());
  const RunOptions& boots = source->options();
  auto kernel = open_kernel(boots);
  if (!kernel) return failure(kernel.error().code, source->with_names(kernel.error().message));
  const auto initrd = open_initrd(boots.guest.initrd);
  if (!initrd) return failure(initrd.error().code, source->with_names(initrd.error().message));
  Files files;
  const std::string bytes = encode_options(boots);
  Json text{{"options", files.add(sealed_file(std::as_bytes(std::span(bytes))))},
            {"kernel", files.add(sealed_file(kernel->elf()))},
            {"initrd", *initrd ? Json(files.add(sealed_file((*initrd)->bytes()))) : Json(-1)},
            {"symbols", -1},
            {"debugger", files.borrow(debugger)},
            {"wall_offset", wall_offset(boots.guest)},
            {"sockets", Json::array()},
            {"networks", Json::array()},
            {"disks", Json::array()}};
  if (auto added = add_symbols(files, text, boots); !added) return added;
  for (const int listener : sockets) text["sockets"].push_back(files.borrow(listener));
  for (const VifDescriptors& vif : networks) {
    Json lanes = Json::array();
    for (const vmm::Fd& lane : vif.lanes) lanes.push_back(files.borrow(lane.get()));
    text["networks"].push_back({{"lanes", std::move(lanes)},
                                {"capture", files.borrow(vif.capture.open() ? vif.capture.get() : -1)},
                                {"tie", files.borrow(vif.tie.open() ? vif.tie.get() : -1)}});
  }
  for (const DiskConfig& disk : boots.guest.disks) {
    auto added = add_disk(files, disk);
    if (!added)
      return failure(added.error().code, fmt::format("disk {}: {}", disk.vdev, added.error().message));
    text["disks"].push_back(std::move(*added));
  }
  if (auto added = add_console(files, text, boots.console); !added) return added;
  if (!send_parcel(socket, text.dump(), files.numbers()))
    return failure(exit_bad_image, "the guest's parts can't be sent to the machine's monitor");
  return {};
}

}  // namespace pinfold::cli::join
