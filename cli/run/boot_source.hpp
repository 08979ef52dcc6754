// Where a life's kernel comes from: from files of the host's, or from the guest's own disk.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/bootloader/bootloader.hpp"
#include "cli/run/disks.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// Done anew in each life: a guest that has a new kernel on its disk boots it when it restarts.
class BootSource {
 public:
  /// With a boot loader, copies kernel and RAM disk from the guest's disks, whose images are open; it asks on
  /// stdin and stdout which, if it is to. Call it before the process has threads. An error is one line.
  [[nodiscard]] static tl::expected<BootSource, std::string> find(const RunOptions& options,
                                                                  const DiskImages& images);

  /// The options with the kernel, the RAM disk and the command line of this life. Paths in them may be those
  /// of descriptors of this process, until forget_files().
  [[nodiscard]] const RunOptions& options() const { return options_; }

  /// When they were opened by their paths: they have as much of the host's memory as they are large.
  void forget_files();

  /// A message about these files, with the names that the guest's disks have for them.
  [[nodiscard]] std::string with_names(std::string message) const;

 private:
  explicit BootSource(const RunOptions& options) : options_(options) {}

  RunOptions options_;
  bootloader::LoadedBoot loaded_;  ///< Without a boot loader: nothing.
};

/// What a boot loader would boot, for a guest that is not to run: it starts servers for images that need
/// them, to read them. An error is one line. Call it before the process has threads.
[[nodiscard]] tl::expected<bootloader::FoundBoot, std::string> look_for_boot(const GuestConfig& guest);

}  // namespace pinfold::cli
