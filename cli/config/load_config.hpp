// A guest's configuration from a file in the syntax of xl.cfg(5), from options, or from both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/guest_config.hpp"
#include "cli/config/remark.hpp"

namespace pinfold::cli {

/// What options say about the guest. They win over the file.
struct GuestFlags {
  std::optional<std::filesystem::path> kernel, initrd;
  std::optional<std::string> command_line;
  std::optional<std::string> bootloader;
  std::vector<std::string> bootloader_args;  ///< Behind those of the file.
  std::optional<std::uint64_t> memory_bytes, max_memory_bytes;
  std::optional<std::uint32_t> vcpus, max_vcpus;
  std::vector<std::string> cpus;  ///< One is for all vCPUs, several are for one vCPU each.
  std::optional<std::string> name, uuid;
  std::optional<EndAction> on_poweroff, on_reboot, on_crash, on_watchdog;
  std::optional<bool> localtime;
  std::optional<std::int64_t> rtc_offset_seconds;
  std::vector<std::string> allowed_images;  ///< Behind those of the file.
  std::vector<std::string> disks;  ///< Each replaces the file's disk of the same number, or is another one.
  std::vector<std::string> vifs;   ///< Behind those of the file.
  bool early_console = false;
  bool no_quirks = false;
  bool strict = false;  ///< A key that xl does not have is an error.
};

struct LoadedConfig {
  GuestConfig guest;
  Remarks remarks;  ///< Warnings and notices.
  Remarks not_yet;  ///< Why a guest of this configuration can't be started yet. Empty: it can.
};

/// Reads and checks a configuration; an empty path stands for no file. Paths in it are relative to the
/// working directory, as xl has it. It opens the file only: whether kernel and images are there is found when
/// the guest is made. Errors come with all warnings and notices. Call it before the program has threads: it
/// forks.
[[nodiscard]] tl::expected<LoadedConfig, Remarks> load_config(const std::filesystem::path& file,
                                                              const GuestFlags& flags);

}  // namespace pinfold::cli
