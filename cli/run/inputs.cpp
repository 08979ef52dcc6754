#include "cli/run/inputs.hpp"

#include <ctime>

#include "cli/run/progress_line.hpp"
#include "cli/run/unpack_child.hpp"
#include "devices/block/nbd_library.hpp"

namespace pinfold::cli {
namespace {

/// The first one that is given.
tl::expected<SymbolFile, std::string> open_symbols(const WatchOptions& watch) {
  return watch.system_map.empty() ? SymbolFile::open_elf(watch.vmlinux)
                                  : SymbolFile::open_map(watch.system_map);
}

}  // namespace

/// Local time counts as it is now: the guest's clock does not change with daylight saving time, as with
/// libxl.
std::int64_t wall_offset(const GuestConfig& config) {
  std::int64_t seconds = config.rtc_offset_seconds;
  const std::time_t now = std::time(nullptr);
  // Reads /etc/localtime once; messages with a time need it later, whatever the guest's clock is.
  ::tzset();
  if (std::tm local{}; config.localtime && ::localtime_r(&now, &local) != nullptr) seconds += local.tm_gmtoff;
  return seconds;
}

Result<loader::KernelFile> open_kernel(const RunOptions& options) {
  ProgressLine progress;
  auto kernel = loader::KernelFile::open(
      options.guest.kernel, progress.sink(), loader::UnpackCache::of_user(),
      [&](auto file, const auto& told) { return unpack_in_child(file, told, options.sandbox.mode); });
  if (!kernel) return failure(exit_bad_image, kernel.error().message);
  return std::move(*kernel);
}

Result<std::optional<loader::Initrd>> open_initrd(const std::filesystem::path& path) {
  if (path.empty()) return std::nullopt;
  auto initrd = loader::load_initrd(path);
  if (!initrd) return failure(exit_bad_image, initrd.error().message);
  return std::move(*initrd);
}

Result<OpenInputs> open_inputs(const RunOptions& options, DiskImages images, std::optional<ProbedKvm>& kvm) {
  const GuestConfig& guest = options.guest;
  auto processors = processors_of(guest.cpus, guest.all_vcpus(), vmm::Processors::of_this_thread());
  if (!processors) return failure(exit_bad_image, "cpus: " + processors.error());
  auto symbols = open_symbols(options.watch);
  if (!symbols) return failure(exit_bad_image, symbols.error());
  auto kernel = open_kernel(options);
  if (!kernel) return tl::unexpected(kernel.error());
  auto initrd = open_initrd(guest.initrd);
  if (!initrd) return tl::unexpected(initrd.error());
  if (!kvm) {
    auto opened = ProbedKvm::open(options.host);
    if (!opened) return failure(exit_no_usable_kvm, opened.error());
    kvm.emplace(std::move(*opened));
  }
  // For images that the guest may be given later; if it is missing, who attaches one is told.
  (void)devices::block::NbdLibrary::load();
  auto console = ConsoleFiles::open(options.console);
  if (!console) return failure(exit_bad_image, console.error());
  return OpenInputs{std::move(*kernel),  std::move(*initrd), std::move(*symbols),   std::move(images),
                    std::move(*console), wall_offset(guest), std::move(*processors)};
}

Result<Inputs> read_inputs(OpenInputs& open) {
  auto symbols = open.symbols.read();
  if (!symbols) return failure(exit_bad_image, symbols.error());
  auto kernel = loader::parse_kernel(std::move(open.kernel));
  if (!kernel) return failure(exit_bad_image, kernel.error().message);
  return Inputs{std::move(*kernel), std::move(*symbols)};
}

}  // namespace pinfold::cli
