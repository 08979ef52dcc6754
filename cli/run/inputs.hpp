// All that the lives of a guest in one machine need from outside its process: first opened, then read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cli/console/guest_console.hpp"
#include "cli/run/disks.hpp"
#include "cli/run/failure.hpp"
#include "cli/run/host.hpp"
#include "cli/run/run_options.hpp"
#include "cli/symbol_file.hpp"
#include "loader/domain_builder.hpp"
#include "loader/kernel_image.hpp"

namespace pinfold::cli {

/// What has to be opened by a path, and what the host says about itself. The content of these files is
/// untrusted, and nothing here has parsed it.
struct OpenInputs {
  loader::KernelFile kernel;
  std::optional<loader::Initrd> initrd;
  SymbolFile symbols;
  DiskImages images;
  ConsoleFiles console;
  std::int64_t wall_offset_seconds = 0;     ///< How far the guest's wall clock is ahead of UTC.
  std::vector<vmm::Processors> processors;  ///< Of the host, for each vCPU; empty: any.
};

[[nodiscard]] Result<loader::KernelFile> open_kernel(const RunOptions& options);
/// nullopt: there is none.
[[nodiscard]] Result<std::optional<loader::Initrd>> open_initrd(const std::filesystem::path& path);
/// How far the guest's wall clock is ahead of UTC, in seconds.
[[nodiscard]] std::int64_t wall_offset(const GuestConfig& config);

/// Opens everything else, and the host's KVM if it is not open yet. When it returns, the process has one
/// thread, as before, and needs no path any more for this guest.
[[nodiscard]] Result<OpenInputs> open_inputs(const RunOptions& options, DiskImages images,
                                             std::optional<ProbedKvm>& kvm);

/// What was in them.
struct Inputs {
  loader::KernelImage kernel;
  std::shared_ptr<const SystemMap> symbols;
};

/// Parses what an image's maker, or a guest, may have written: after the monitor has confined itself.
[[nodiscard]] Result<Inputs> read_inputs(OpenInputs& open);

}  // namespace pinfold::cli
